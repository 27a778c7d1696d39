"""Row locks in memory, held until the transaction ends, with deadlock detection."""

from collections.abc import Callable
from threading import Condition

from allocation_worker.service_layer.ports import StoreContentionError, StoreLockTimeoutError

LOCK_TIMEOUT = 10.0
LOCKED_FOR_LONG = 0.3

Key = tuple[str, str]


class Locks:
    """Who holds what, and who waits for what.

    Args:
        condition: a `threading.Condition`, or what does as one where no thread may wait.
    """

    def __init__(self, condition: Callable[[], Condition] = Condition) -> None:
        self._changed = condition()
        self._holders: dict[Key, object] = {}
        self._waits: dict[object, Key] = {}

    def take(self, key: Key, owner: object, timeout: float = LOCK_TIMEOUT) -> None:
        """Wait until nobody else holds it.

        Raises:
            StoreContentionError: the holder waits for this owner, or holds it too long.
        """
        with self._changed:
            while self._holders.get(key, owner) is not owner:
                if self._waits_for(self._holders[key], owner):
                    raise StoreContentionError("deadlock detected")
                self._waits[owner] = key
                try:
                    if not self._changed.wait(timeout):
                        raise StoreLockTimeoutError("canceling statement due to lock timeout")
                finally:
                    del self._waits[owner]
            self._holders[key] = owner

    def take_if_free(self, key: Key, owner: object) -> bool:
        """Take it, unless somebody holds it; return whether it was free."""
        if key in self._holders:
            return False
        self._holders[key] = owner
        return True

    def holder(self, key: Key) -> object | None:
        """Return who holds it."""
        return self._holders.get(key)

    def release(self, owner: object) -> None:
        """Give up all that it holds."""
        with self._changed:
            self._holders = {key: holder for key, holder in self._holders.items() if holder is not owner}
            self._changed.notify_all()

    def _waits_for(self, holder: object, owner: object) -> bool:
        while (key := self._waits.get(holder)) is not None and key in self._holders:
            holder = self._holders[key]
            if holder is owner:
                return True
        return False


class ImpatientLocks(Locks):
    """Nobody waits: what another holds is refused at once."""

    def take(self, key: Key, owner: object, timeout: float = 0) -> None:
        if self.holder(key) not in {None, owner}:
            raise StoreLockTimeoutError(f"canceling statement due to lock timeout after {timeout} s")
        super().take(key, owner, timeout)
