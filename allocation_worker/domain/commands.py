"""The commands of the domain, named in the imperative."""

from dataclasses import dataclass
from datetime import date, datetime

from allocation_worker.domain.lines import LineId


class LineCommand:
    """A command about an order line."""

    __slots__ = ()

    orderid: str
    sku: str
    lineid: str

    @property
    def line_id(self) -> LineId:
        return self.orderid, self.lineid


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocate(LineCommand):
    """Allocate an order line to one batch. If there is none, and it is to `wait`, it waits for stock."""

    orderid: str
    sku: str
    qty: int
    lineid: str = ""
    wait: bool = False
    priority: int = 0
    needed_by: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deallocate(LineCommand):
    """Cancel an order line. It cannot be allocated again."""

    orderid: str
    sku: str
    lineid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ship(LineCommand):
    """Ship an order line. It can neither be moved nor cancelled afterwards."""

    orderid: str
    sku: str
    lineid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLineQuantity(LineCommand):
    """Set the quantity of an order line, if it is `from_qty` so far."""

    orderid: str
    sku: str
    qty: int
    lineid: str = ""
    from_qty: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(LineCommand):
    """Hold stock for an order line until a time, such as for a basket. It never waits, and displaces nobody.

    Attributes:
        message_id: Of the message that asks for it, which is the cause of its end.
        correlation_id: Of that message.
    """

    orderid: str
    sku: str
    qty: int
    until: datetime
    lineid: str = ""
    message_id: str = ""
    correlation_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LapseHold(LineCommand):
    """End the hold of an order line. The worker gives itself this command.

    Attributes:
        message_id: Of the message that asked for the hold. A hold that another message has changed since stays.
    """

    orderid: str
    sku: str
    message_id: str
    lineid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBatch:
    """Add a batch of stock. It is in the warehouse if it has no ETA."""

    batchref: str
    sku: str
    qty: int
    eta: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBatchQuantity:
    """Change the purchased quantity of a batch. Lines that no longer fit are allocated again."""

    batchref: str
    qty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBatchEta:
    """Change the ETA of a batch; it has arrived if it has none. Lines for which it is too late are allocated again."""

    batchref: str
    eta: date | None


BatchCommand = ChangeBatchQuantity | ChangeBatchEta
"""A command that names a batch, and no SKU."""

Command = Allocate | Deallocate | Ship | ChangeLineQuantity | Hold | LapseHold | CreateBatch | BatchCommand
