"""What others may ask of the shop, in the imperative."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocate:
    """Give this order line stock from one batch."""

    orderid: str
    sku: str
    qty: int
    lineid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deallocate:
    """Cancel this order line, now and for good."""

    orderid: str
    sku: str
    lineid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBatch:
    """Record a batch of stock: in the warehouse, or at sea with an ETA."""

    batchref: str
    sku: str
    qty: int
    eta: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBatchQuantity:
    """Correct how much of a batch was purchased; lines that no longer fit are moved."""

    batchref: str
    qty: int


Command = Allocate | Deallocate | CreateBatch | ChangeBatchQuantity
