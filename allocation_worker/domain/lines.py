"""Order lines, and what was asked for them."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from allocation_worker.domain import events
from allocation_worker.domain.errors import quoted

LineId = tuple[str, str]
"""(orderid, lineid). It identifies a line of one SKU."""


class Terms(NamedTuple):
    """What an order says of a line beside its quantity.

    Attributes:
        wait: Whether the line waits for stock if there is none.
        priority: Of the lines that wait, the higher are served first.
        needed_by: No batch that arrives after this day is for the line; None if any will do.
    """

    wait: bool = False
    priority: int = 0
    needed_by: date | None = None

    def allow(self, eta: date | None) -> bool:
        """Return whether a batch with this ETA is for the line. The warehouse always is."""
        return eta is None or self.needed_by is None or eta <= self.needed_by


PLAIN = Terms()
"""The terms of nearly every line."""


class Holding(NamedTuple):
    """How stock is held for a line that nobody has ordered yet.

    Attributes:
        until: When it lapses.
        message_id: Of the message that asked for it: the cause of its end.
        correlation_id: Of that message.
    """

    until: datetime
    message_id: str = ""
    correlation_id: str = ""


class Turn(NamedTuple):
    """The position of a line in the queue of those that wait. The smallest is served first.

    Attributes:
        urgency: The priority, negated.
        place: The place of the line.
    """

    urgency: int
    place: int


@dataclass(slots=True)
class OrderLine:
    """An order line.

    Attributes:
        batchref: The batch that `qty` was allocated from; None if the line holds no stock.
        sequence: The `sequence` of the last event about the line's own stock.
        place: The `sequence` of the first such event. It says who asked first.
        shipped: Whether it was shipped. It still counts as allocated from its batch.
        terms: What was asked for the line.
        hold: How its stock is held, as long as it was not allocated.
        answer: The last event about the line's own stock, as long as it cannot be told from the line and its batch.
    """

    sku: str
    orderid: str
    lineid: str
    qty: int = 0
    batchref: str | None = None
    cancelled: bool = False
    sequence: int = 0
    place: int = 0
    terms: Terms = PLAIN
    shipped: bool = False
    answer: events.ProductEvent | None = None
    hold: Holding | None = None

    @property
    def id(self) -> LineId:
        return self.orderid, self.lineid

    @property
    def name(self) -> str:
        """What it is called in the sentence of a refusal."""
        suffix = f", lineid {quoted(self.lineid)}" if self.lineid else ""
        return f"(order {quoted(self.orderid)}, SKU {quoted(self.sku)}{suffix})"

    @property
    def waits(self) -> bool:
        return self.terms.wait and self.batchref is None and not self.cancelled

    @property
    def turn(self) -> Turn:
        return Turn(-self.terms.priority, self.place)
