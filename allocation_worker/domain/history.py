"""What an event has done to the batches of its product: done again, or taken back.

LineQuantityChanged can be neither: it does not say which batch held the line before.
"""

from allocation_worker.domain import events
from allocation_worker.domain.model import Batch

Stock = dict[str, Batch]
"""All batches of one product, by reference."""


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
        case events.Deallocated(batchref=str(batchref)):
            stock[batchref].allocated_quantity += event.qty
