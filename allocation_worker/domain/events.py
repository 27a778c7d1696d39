"""The events of the domain, named in the past tense.

`sequence` counts the events of one SKU: 1, 2, 3, with no gap but one after a restored backup.
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal

DeallocationReason = Literal["cancelled", "batch-quantity-changed"]


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
        largest_available: The largest quantity that one batch could give.
        next_eta: The earliest ETA of the other batches that have stock left and are not in the warehouse yet. The batch
            that `largest_available` counts is the first in order of preference that has so much.
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
class CommandRejected:
    """A business rule refused a command, and nothing has changed. The event belongs to no SKU, so it has no sequence.

    Attributes:
        reason: A slug for programs.
        detail: One sentence for people.
    """

    reason: str
    detail: str


ProductEvent = Allocated | OutOfStock | Deallocated | BatchCreated | BatchQuantityChanged
Event = ProductEvent | CommandRejected
