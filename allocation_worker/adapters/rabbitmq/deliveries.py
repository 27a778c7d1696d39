"""The deliveries of one queue, between its network thread and its worker thread."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition

from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.adapters.rabbitmq.prefetch_policy import share
from allocation_worker.service_layer.outcomes import Outcome

Results = Sequence[tuple[Delivery, Outcome]]


class DeliveryBuffer:
    """Keeps the deliveries of one queue until the worker thread takes them. Thread-safe.

    Args:
        queue: The queue's name.
        on_results: Called in the worker thread with deliveries and their outcomes.
        on_release: Called in the worker thread when the queue may be consumed again.
        condition: The condition that the worker thread waits on.
    """

    def __init__(
        self,
        queue: str,
        *,
        on_results: Callable[[Results], None],
        on_release: Callable[[], None],
        condition: Condition,
    ) -> None:
        self.queue = queue
        self._on_results = on_results
        self._on_release = on_release
        self._waiting: deque[Delivery] = deque()
        self._changed = condition
        self._closed = False
        self._held = False
        self._resting = False

    def take(self, limit: int, within: float | None = None) -> list[Delivery] | None:
        """Wait for deliveries, and return those that are there, in order.

        Args:
            limit: The most that are returned; fewer if deliveries of them have failed before, as `share` says.
            within: How many seconds to wait; None for any time.

        Returns:
            The deliveries; none once the buffer is closed. None if there were none for `within` seconds.
        """
        with self._changed:
            while not (self._closed or (self._waiting and not self._resting)):
                if not self._changed.wait(within):
                    return None
            if self._closed:
                return []
            taken = [self._waiting.popleft()]
            most = share(limit, taken[0].failures)
            while self._waiting and len(taken) < (most := min(most, share(limit, self._waiting[0].failures))):
                taken.append(self._waiting.popleft())
            return taken

    def ack(self, results: Results) -> None:
        """Ack deliveries; one that is retried or dead-lettered is acked once its copy is confirmed.

        Deliveries whose channel is gone are skipped: the broker delivers them again.
        """
        self._on_results(results)

    def hold(self) -> None:
        """Do not consume the queue again after a lost connection, until `release`. What was delivered is kept."""
        self._held = True

    def release(self) -> None:
        """Undo `hold`."""
        self._held = False
        self._on_release()

    @property
    def held(self) -> bool:
        """Whether `hold` was called, and `release` was not yet."""
        return self._held

    def put(self, delivery: Delivery) -> None:
        """Add a delivery; for the network thread."""
        with self._changed:
            self._waiting.append(delivery)
            self._changed.notify()

    def clear(self) -> None:
        """Forget the deliveries that are not taken, when the channel is gone; for the network thread."""
        with self._changed:
            self._waiting.clear()
            self._resting = False

    def rest(self) -> None:
        """Let `take` wait until `resume` or `clear`; for the network thread."""
        with self._changed:
            self._resting = True

    def resume(self) -> None:
        """Undo `rest`; for the network thread."""
        with self._changed:
            self._resting = False
            self._changed.notify()

    def close(self) -> None:
        """Let `take` return nothing from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
