"""Holding back what comes too early."""

from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class Early(Generic[T]):
    """Keeps events that came before their predecessors, for a while.

    Args:
        patience: For how many seconds a SKU's predecessors are waited for.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._held: dict[str, dict[int, T]] = {}
        self._deadlines: dict[str, float] = {}

    def hold(self, sku: str, sequence: int, item: T) -> T | None:
        """Keep it; give the one that was kept under this number so far."""
        self._deadlines.setdefault(sku, monotonic() + self._patience)
        held = self._held.setdefault(sku, {})
        before = held.get(sequence)
        held[sequence] = item
        return before

    def release(self, sku: str, sequence: int) -> T | None:
        """Give the one with this number, if it is here."""
        held = self._held.get(sku, {})
        item = held.pop(sequence, None)
        if item is not None:
            # Who moved on may wait anew for the next.
            self._deadlines[sku] = monotonic() + self._patience
        if not held:
            self._held.pop(sku, None)
            self._deadlines.pop(sku, None)
        return item

    def release_overdue(self) -> list[T]:
        """Give the first of each SKU whose predecessors have been waited for long enough."""
        now = monotonic()
        overdue = [sku for sku, deadline in self._deadlines.items() if deadline <= now]
        first = [self.release(sku, min(self._held[sku])) for sku in overdue]
        return [item for item in first if item is not None]

    def seconds_left(self) -> float | None:
        """When to call `release_overdue`; None while nothing is here."""
        return max(0.0, min(self._deadlines.values()) - monotonic()) if self._deadlines else None

    def forget(self) -> None:
        """All of it will come again."""
        self._held.clear()
        self._deadlines.clear()
