"""What an event has done to the batches of its product: done again, or taken back.

Some events can be neither, since they do not say what was held for the line before: `UNTRACEABLE`. An allocation of a
line for which stock was held looks like any other, so it counts twice if the hold itself is not among the events.
"""

from allocation_worker.domain import events
from allocation_worker.domain.model import Batch

Stock = dict[str, Batch]
"""All batches of one product, by reference."""

UNTRACEABLE = (events.LineQuantityChanged, events.Held)
"""Events after which it is not known what the batches were before."""


def redo(stock: Stock, event: events.ProductEvent) -> None:
    """Bring the batches from just before the event to just after it."""
    match event:
        case events.BatchCreated():
            stock[event.batchref] = Batch(
                reference=event.batchref,
                sku=event.sku,
                purchased_quantity=event.qty,
                eta=event.eta,
                arrival=len(stock) + 1,
                created_qty=event.qty,
                created_eta=event.eta,
                sequence=event.sequence,
            )
        case events.BatchQuantityChanged():
            stock[event.batchref].purchased_quantity = event.qty
        case events.BatchEtaChanged():
            stock[event.batchref].eta = event.eta
        case events.Allocated():
            stock[event.batchref].allocated_quantity += event.qty
        case events.Shipped():
            stock[event.batchref].shipped_quantity += event.qty
        case events.HoldLapsed():
            stock[event.batchref].allocated_quantity -= event.qty
        case events.Deallocated(batchref=str(batchref)):
            stock[batchref].allocated_quantity -= event.qty


def undo(stock: Stock, event: events.ProductEvent) -> None:
    """Bring the batches from just after the event to just before it."""
    match event:
        case events.BatchCreated():
            del stock[event.batchref]
        case events.BatchQuantityChanged():
            stock[event.batchref].purchased_quantity = event.previous_qty
        case events.BatchEtaChanged():
            stock[event.batchref].eta = event.previous_eta
        case events.Allocated():
            stock[event.batchref].allocated_quantity -= event.qty
        case events.Shipped():
            stock[event.batchref].shipped_quantity -= event.qty
        case events.HoldLapsed():
            stock[event.batchref].allocated_quantity += event.qty
        case events.Deallocated(batchref=str(batchref)):
            stock[batchref].allocated_quantity += event.qty
