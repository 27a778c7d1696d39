"""How far a subscriber has come with the events of each SKU, so that it knows a repeat and a loss when it sees one."""

from dataclasses import dataclass
from typing import Protocol

from allocation_contracts.errors import AllocationError


class GapError(AllocationError):
    """Events of a SKU are missing, or late.

    Attributes:
        sku: Whose they are.
        expected: The first `sequence` that is missing.
        got: The one that came instead.
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
    """What has been seen of one SKU's events.

    Attributes:
        last: The highest `sequence` seen.
        missing: What below it has not been seen, in ascending order.
    """

    last: int
    missing: tuple[range, ...] = ()

    @classmethod
    def before(cls, sequence: int) -> "Position":
        """Where to begin with a SKU of which this event comes first; those below it may have been seen by nobody."""
        return cls(sequence - 1, (range(1, sequence),) if sequence > 1 else ())

    def has_seen(self, sequence: int) -> bool:
        """Whether the event with this `sequence` is a repeat."""
        return sequence <= self.last and not any(sequence in gap for gap in self.missing)

    def gap_before(self, sequence: int) -> range:
        """What would be missing if this event were taken; empty if nothing new would."""
        return range(self.last + 1, sequence)

    def after(self, sequence: int) -> "Position":
        """The position once this event, which has not been seen, has been taken."""
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
    """Where positions are kept, by SKU. A `dict` will do for a program that may begin anew; a `shelve` outlives it.

    A SKU that is not there begins with whatever event comes first, and what is below it counts as not seen. A store in
    the database that holds the subscriber's own data can have both committed at once: `__setitem__` is called when the
    event has been handled, before its ack.
    """

    def get(self, sku: str, /) -> Position | None: ...

    def __setitem__(self, sku: str, position: Position, /) -> None: ...
