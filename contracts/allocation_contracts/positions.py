"""Track which events of each SKU a subscriber has seen, to detect repeats and losses."""

from dataclasses import dataclass
from typing import Protocol

from allocation_contracts.errors import AllocationError


class GapError(AllocationError):
    """Events of a SKU are missing or late.

    Attributes:
        sku: The SKU.
        expected: The first `sequence` that is missing.
        got: The `sequence` that came instead.
    """

    def __init__(self, sku: str, expected: int, got: int) -> None:
        super().__init__(sku, expected, got)
        self.sku = sku
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        last = self.got - 1
        missing = f"{self.expected}" if last == self.expected else f"{self.expected} to {last}"
        return f"Of SKU {self.sku!r}, event {self.got} came where {self.expected} was expected: {missing} missing."


@dataclass(frozen=True, slots=True)
class Position:
    """Which events of one SKU have been seen.

    Attributes:
        last: The highest `sequence` seen.
        missing: The ranges below `last` that have not been seen, in ascending order.
    """

    last: int
    missing: tuple[range, ...] = ()

    @classmethod
    def before(cls, sequence: int) -> "Position":
        """Return the position before the first event that is seen of a SKU. Earlier events count as missing."""
        return cls(sequence - 1, (range(1, sequence),) if sequence > 1 else ())

    def has_seen(self, sequence: int) -> bool:
        """Return whether the event with this `sequence` is a repeat."""
        return sequence <= self.last and not any(sequence in gap for gap in self.missing)

    def gap_before(self, sequence: int) -> range:
        """Return the events that would be skipped if this event were taken next; empty if none would be."""
        return range(self.last + 1, sequence)

    def after(self, sequence: int) -> "Position":
        """Return the position after an event that has not been seen before."""
        if sequence > self.last:
            gap = self.gap_before(sequence)
            return Position(sequence, (*self.missing, gap) if gap else self.missing)
        parts = (
            part
            for gap in self.missing
            for part in ((range(gap.start, sequence), range(sequence + 1, gap.stop)) if sequence in gap else (gap,))
        )
        return Position(self.last, tuple(part for part in parts if part))


class Positions(Protocol):
    """A store of positions, by SKU.

    A `dict` is enough for a program that may start from nothing; a `shelve` survives a restart. Open it in the thread
    that runs the subscriber. For an unknown SKU the first event that arrives is the start, and earlier events count as
    missing. `__setitem__` is called after the event was handled and before it is acknowledged, so a store in the
    subscriber's own database can commit both together.
    """

    def get(self, sku: str, /) -> Position | None: ...

    def __setitem__(self, sku: str, position: Position, /) -> None: ...
