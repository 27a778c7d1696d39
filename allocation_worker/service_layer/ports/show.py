"""What `show` asks the database: the lines that wait or are held now, which the events do not tell in full."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple, Protocol

LineKey = tuple[str, str, str]
"""(orderid, sku, lineid)."""


class WaitingLine(NamedTuple):
    """A line that waits for stock.

    Attributes:
        priority: The higher are served first.
        needed_by: No batch that arrives after this day is for the line; None if any will do.
        before: The number of lines of the SKU that are served before it.
        since: When it began to wait; None if that was before the database knew it.
    """

    orderid: str
    sku: str
    lineid: str
    qty: int
    priority: int
    needed_by: date | None
    before: int
    since: datetime | None


class HeldLine(NamedTuple):
    """A line for which stock is held.

    Attributes:
        batchref: The batch of which it is held.
        until: When the hold lapses.
        seconds_left: How long that is, by the clock of the database; negative if the hold is overdue.
    """

    orderid: str
    sku: str
    lineid: str
    qty: int
    batchref: str
    until: datetime
    seconds_left: float


class LineQueue(NamedTuple):
    """The lines of a SKU that wait: the first of them, in the order in which they are served, and what is true of all.

    Attributes:
        lines: The first of them.
        total: The number of all.
        qty: The quantity of all.
        since: When the first of all began to wait; None if none waits, or if that is not known of any.
    """

    lines: Sequence[WaitingLine]
    total: int
    qty: int
    since: datetime | None


class SkuQueue(NamedTuple):
    """How many lines of a SKU wait, their quantity, and since when the first of them."""

    sku: str
    total: int
    qty: int
    since: datetime | None


class BatchUse(NamedTuple):
    """What has become of the allocated part of a batch.

    Attributes:
        held: The part that is only held.
        holds: The number of lines for which it is held.
        next_lapse: When the first of these holds lapses; None if there is none.
        shipped: The part that was shipped.
    """

    held: int
    holds: int
    next_lapse: datetime | None
    shipped: int


class LinesNow(Protocol):
    """The lines as they stand in the write model. Any method may raise StoreError."""

    def queue(self, sku: str, limit: int) -> LineQueue:
        """Return the queue of a SKU, with `limit` lines at most."""

    def knows(self, sku: str) -> bool:
        """Return whether anything was ever stored of the SKU, such as a batch or a cancelled line."""

    def queues(self, limit: int) -> tuple[Sequence[SkuQueue], int]:
        """Return the SKUs with the most waiting lines, `limit` at most, and the number of all that have some."""

    def waiting(self, lines: Collection[LineKey]) -> Sequence[WaitingLine]:
        """Return those of these lines that wait, in the order of their keys by SKU, orderid and lineid."""

    def held(self, lines: Collection[LineKey]) -> Sequence[HeldLine]:
        """Return those of these lines for which stock is held, in the same order."""

    def use(self, batchrefs: Collection[str]) -> Mapping[str, BatchUse]:
        """Return what has become of the allocated parts of those of these batches that there are."""
