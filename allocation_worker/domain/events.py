"""What the shop has decided, in the past tense.

`sequence` counts the events of one SKU: 1, 2, 3, with no gap.
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal

DeallocationReason = Literal["cancelled", "batch-quantity-changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocated:
    """The line holds `qty` of the batch."""

    orderid: str
    sku: str
    lineid: str
    qty: int
    batchref: str
    eta: date | None
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfStock:
    """No one batch could take the line; a later allocate of it tries again.

    `largest_available` is the most that one batch could give; `next_eta` the earliest ETA among the shipments
    that have some stock left.
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
    """The line holds no stock any more; `batchref` is None where it held none.

    `qty` is the line's quantity, 0 where the line was never seen.
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
    """A batch of stock is known from now on."""

    batchref: str
    sku: str
    qty: int
    eta: date | None
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchQuantityChanged:
    """The purchased quantity of a batch is `qty` now."""

    batchref: str
    sku: str
    qty: int
    previous_qty: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRejected:
    """The shop said no to a command; nothing has changed.

    `reason` is a slug for programs, `detail` one sentence for people. It belongs to no SKU, so it is not counted.
    """

    reason: str
    detail: str


ProductEvent = Allocated | OutOfStock | Deallocated | BatchCreated | BatchQuantityChanged
Event = ProductEvent | CommandRejected
