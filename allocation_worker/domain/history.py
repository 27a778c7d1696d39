"""What an event has done to the batches of its product: done again, or taken back.

Some events take the place of what the line had before, and do not say what that was. Its earlier events do: `Shares`
follows them.
"""

from typing import NamedTuple

from allocation_worker.domain import events
from allocation_worker.domain.lines import LineId
from allocation_worker.domain.stock import Batch

Batches = dict[str, Batch]
"""All batches of one product, by reference."""

ChangesOfLines: tuple[type[events.LineEvent], ...] = (events.LineQuantityChanged, events.Held)
"""Events that give back whatever their line had before, without saying what that was."""

_Placed = events.Allocated | events.OutOfStock | events.Backordered


class Share(NamedTuple):
    """What a line has of a batch.

    Attributes:
        only_held: Whether it is held until a time, and not allocated.
    """

    batchref: str
    qty: int
    only_held: bool


class Shares:
    """What each line has of a batch. It is told by all events of the line that are known, in order."""

    def __init__(self) -> None:
        self._shares: dict[LineId, Share | None] = {}

    def know(self, event: events.ProductEvent) -> bool:
        """Return whether it is known what the line of an event had before it.

        A line without an earlier event had nothing. But one whose quantity was changed must have had an earlier event.
        """
        return line_of(event) in self._shares or not isinstance(event, events.LineQuantityChanged)

    def take(self, event: events.ProductEvent) -> Share | None:
        """Return what the line of an event had before it; None if nothing, or if the event is about no line."""
        line = line_of(event)
        if line is None:
            return None
        before = self._shares.get(line)
        self._shares[line] = _share_after(event, before)
        return before


def line_of(event: object) -> LineId | None:
    """Return the line that an event is about; None if it is about a batch, or is a rejection."""
    return (event.orderid, event.lineid) if isinstance(event, events.LineEvent) else None


def _share_after(event: events.ProductEvent, before: Share | None) -> Share | None:
    match event:
        case events.Allocated() | events.Shipped():
            return Share(event.batchref, event.qty, only_held=False)
        case events.Held():
            return Share(event.batchref, event.qty, only_held=True)
        case events.PromiseChanged() | events.LineQuantityChanged(batchref=str()):
            return Share(str(event.batchref), event.qty, only_held=before is not None and before.only_held)
    return None


def given_back(event: events.ProductEvent, before: Share | None) -> Share | None:
    """Return what an event frees without saying so, of what its line had before."""
    if isinstance(event, ChangesOfLines):
        return before
    # Stock that was held is what the line is allocated now, or it was of no use to it.
    return before if isinstance(event, _Placed) and before and before.only_held else None


def redo(batches: Batches, event: events.ProductEvent, before: Share | None = None) -> None:
    """Bring the batches from just before the event to just after it; `before` is what its line had."""
    if freed := given_back(event, before):
        batches[freed.batchref].allocated_quantity -= freed.qty
    match event:
        case events.BatchCreated():
            batches[event.batchref] = Batch(
                reference=event.batchref,
                sku=event.sku,
                purchased_quantity=event.qty,
                eta=event.eta,
                arrival=len(batches) + 1,
                created_qty=event.qty,
                created_eta=event.eta,
                sequence=event.sequence,
            )
        case events.BatchQuantityChanged():
            batches[event.batchref].purchased_quantity = event.qty
        case events.BatchEtaChanged():
            batches[event.batchref].eta = event.eta
        case events.Allocated() | events.Held() | events.LineQuantityChanged(batchref=str()):
            batches[str(event.batchref)].allocated_quantity += event.qty
        case events.Shipped():
            batches[event.batchref].shipped_quantity += event.qty
        case events.HoldLapsed() | events.Deallocated(batchref=str()):
            batches[str(event.batchref)].allocated_quantity -= event.qty


def undo(batches: Batches, event: events.ProductEvent, before: Share | None = None) -> None:
    """Bring the batches from just after the event to just before it; `before` is what its line had."""
    if freed := given_back(event, before):
        batches[freed.batchref].allocated_quantity += freed.qty
    match event:
        case events.BatchCreated():
            del batches[event.batchref]
        case events.BatchQuantityChanged():
            batches[event.batchref].purchased_quantity = event.previous_qty
        case events.BatchEtaChanged():
            batches[event.batchref].eta = event.previous_eta
        case events.Allocated() | events.Held() | events.LineQuantityChanged(batchref=str()):
            batches[str(event.batchref)].allocated_quantity -= event.qty
        case events.Shipped():
            batches[event.batchref].shipped_quantity -= event.qty
        case events.HoldLapsed() | events.Deallocated(batchref=str()):
            batches[str(event.batchref)].allocated_quantity += event.qty
