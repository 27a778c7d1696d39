"""The events of the domain, named in the past tense.

`sequence` counts the events of one SKU: 1, 2, 3, with no gap but one after a restored backup.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

DeallocationReason = Literal["cancelled", "batch-quantity-changed", "batch-eta-changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocated:
    """The line was allocated to the batch."""

    orderid: str
    sku: str
    lineid: str
    qty: int
    batchref: str
    eta: date | None
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfStock:
    """No single batch can take the line. A later allocate of the line tries again.

    Attributes:
        largest_available: The largest quantity that one batch could give, of those that the line may use.
        next_eta: The earliest ETA of the others of these batches that have stock left and are not in the warehouse yet.
            The batch that `largest_available` counts is the first in order of preference that has so much.
    """

    orderid: str
    sku: str
    lineid: str
    qty: int
    largest_available: int
    next_eta: date | None
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backordered:
    """No single batch can take the line, and it waits for stock.

    Attributes:
        largest_available: As of OutOfStock.
        next_eta: As of OutOfStock.
    """

    orderid: str
    sku: str
    lineid: str
    qty: int
    largest_available: int
    next_eta: date | None
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deallocated:
    """The line holds no stock any more.

    Attributes:
        qty: The line's quantity; 0 if the line was never seen.
        batchref: The batch that held the line; None if the line held no stock.
    """

    orderid: str
    sku: str
    lineid: str
    qty: int
    batchref: str | None
    reason: DeallocationReason
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCreated:
    """A batch of stock was added."""

    batchref: str
    sku: str
    qty: int
    eta: date | None
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchQuantityChanged:
    """The purchased quantity of a batch was changed to `qty`."""

    batchref: str
    sku: str
    qty: int
    previous_qty: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEtaChanged:
    """The ETA of a batch was changed to `eta`. It is in the warehouse if it has none."""

    batchref: str
    sku: str
    eta: date | None
    previous_eta: date | None
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseChanged:
    """The line stays with its batch, whose ETA was changed to `eta`."""

    orderid: str
    sku: str
    lineid: str
    qty: int
    batchref: str
    eta: date | None
    previous_eta: date | None
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """The line was shipped."""

    orderid: str
    sku: str
    lineid: str
    qty: int
    batchref: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineQuantityChanged:
    """The quantity of a line was changed, and it is allocated to `batchref` as a whole; to none if that is None."""

    orderid: str
    sku: str
    lineid: str
    qty: int
    previous_qty: int
    batchref: str | None
    eta: date | None
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The stock is held for the line until a time. It takes the place of what was held for the line before."""

    orderid: str
    sku: str
    lineid: str
    qty: int
    batchref: str
    eta: date | None
    until: datetime
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLapsed:
    """No stock of the batch is held for the line any more. The line is as if it had never been asked for."""

    orderid: str
    sku: str
    lineid: str
    qty: int
    batchref: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRejected:
    """A business rule refused a command, and nothing has changed. The event belongs to no SKU, so it has no sequence.

    Attributes:
        reason: A slug for programs.
        detail: One sentence for people.
    """

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """Lines of the product have to be told something, or may get stock now. This event is not published."""

    sku: str


LineEvent = (
    Allocated
    | OutOfStock
    | Backordered
    | PromiseChanged
    | LineQuantityChanged
    | Shipped
    | Held
    | HoldLapsed
    | Deallocated
)
"""An event about a line."""

ProductEvent = LineEvent | BatchCreated | BatchQuantityChanged | BatchEtaChanged
"""An event about one SKU, counted by its `sequence`."""

Event = ProductEvent | CommandRejected
"""An event that is published."""

RaisedEvent = ProductEvent | Unsettled
"""An event that a product raises."""
