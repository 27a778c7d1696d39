"""One handler for each message. The tables at the end list everything that the service does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from allocation_worker.domain import commands, events
from allocation_worker.domain.errors import (
    BatchExistsError,
    LineNotAllocatedError,
    RefusalError,
    UnknownBatchError,
    UnknownLineError,
    UnknownSkuError,
    quoted,
)
from allocation_worker.domain.lines import PLAIN, Holding, Terms
from allocation_worker.domain.model import AT_A_TIME, Product
from allocation_worker.service_layer.ports import UnitOfWork


def allocate(command: commands.Allocate, uow: UnitOfWork) -> None:
    """Allocate the line to the preferred batch, or record that no batch can take it."""
    product = _product_with_batches(command, uow, "allocate")
    product.allocate(command.line_id, command.qty, _terms(command))


def hold(command: commands.Hold, uow: UnitOfWork) -> None:
    """Hold stock for the line, no longer than the setting allows, or record that no batch can take it."""
    product = _product_with_batches(command, uow, "hold")
    until = min(command.until, uow.hold_limit_from_now())
    product.hold(command.line_id, command.qty, Holding(until, command.message_id, command.correlation_id))


def lapse_hold(command: commands.LapseHold, uow: UnitOfWork) -> None:
    """End the hold of a line whose time has passed; those that wait are served."""
    if product := uow.products.get(command.sku, command.line_id):
        product.lapse_hold(command.line_id, command.message_id)


def deallocate(command: commands.Deallocate, uow: UnitOfWork) -> None:
    """Cancel the line, even one that was never seen: its allocate may arrive later."""
    line_id = command.line_id
    product = uow.products.get(command.sku, line_id) or uow.products.add(Product(command.sku), line_id)
    product.deallocate(line_id)


def ship(command: commands.Ship, uow: UnitOfWork) -> None:
    """Ship the line, if it holds stock that is in the warehouse."""
    _product_ordered(command, uow, LineNotAllocatedError).ship(command.line_id)


def change_line_quantity(command: commands.ChangeLineQuantity, uow: UnitOfWork) -> None:
    """Set the quantity of a line; it keeps its stock if there is not enough for more."""
    product = _product_ordered(command, uow, UnknownLineError)
    product.change_line_quantity(command.line_id, command.qty, command.from_qty)


def create_batch(command: commands.CreateBatch, uow: UnitOfWork) -> None:
    """Add a batch of stock, or announce it again if it exists with the same content."""
    if owner := uow.products.get_by_batchref(command.batchref):
        owner.announce_batch_again(command.batchref, command.sku, command.qty, command.eta)
        return
    if uow.products.was_pruned(command.batchref):
        raise BatchExistsError(f"{_gone(command.batchref)}; use another reference.")
    product = uow.products.get(command.sku) or uow.products.add(Product(command.sku))
    product.create_batch(command.batchref, command.qty, command.eta)


def change_batch_quantity(command: commands.ChangeBatchQuantity, uow: UnitOfWork) -> None:
    """Correct the quantity of a batch; lines that no longer fit lose their stock."""
    product = _owner(command.batchref, uow)
    last_asked_first = uow.products.lines_last_asked_first(product, command.batchref)
    product.change_batch_quantity(command.batchref, command.qty, last_asked_first)


def change_batch_eta(command: commands.ChangeBatchEta, uow: UnitOfWork) -> None:
    """Change the ETA of a batch, or note its arrival; its lines are told."""
    _owner(command.batchref, uow).change_batch_eta(command.batchref, command.eta)


def settle(event: events.Unsettled, uow: UnitOfWork) -> None:
    """See to a thousand lines at most: first those to be told, then those a batch has lost, then those that wait."""
    product = uow.products.get(event.sku)
    if product is None:
        return
    if product.to_tell:
        batchref, _, after = product.to_tell
        product.tell(uow.products.lines_first_asked_first(product, batchref, after=after, limit=AT_A_TIME))
    elif product.taken_off:
        product.serve_taken_off()
    else:
        waiting = uow.products.waiting(
            product,
            after=product.queue.served_up_to,
            at_most=product.stock.largest_available,
            limit=product.served_at_a_time,
        )
        product.serve_waiting(waiting)


def _product_with_batches(command: commands.LineCommand, uow: UnitOfWork, what: str) -> Product:
    product = uow.products.get(command.sku, command.line_id)
    if product is None or not (product.batches_arrived or product.lines[command.line_id].cancelled):
        raise UnknownSkuError(f"No batch of SKU {quoted(command.sku)} has been created; create one, then {what} again.")
    return product


def _product_ordered(command: commands.LineCommand, uow: UnitOfWork, refusal: type[RefusalError]) -> Product:
    product = uow.products.get(command.sku, command.line_id)
    if product is None:
        raise refusal(f"Nothing of SKU {quoted(command.sku)} was ever ordered; allocate the line first.")
    return product


def _owner(batchref: str, uow: UnitOfWork) -> Product:
    product = uow.products.get_by_batchref(batchref)
    if product is None and uow.products.was_pruned(batchref):
        raise UnknownBatchError(f"{_gone(batchref)}; more stock is a new batch.")
    if product is None:
        raise UnknownBatchError(f"No batch has the reference {quoted(batchref)}; create it first.")
    return product


def _gone(batchref: str) -> str:
    return f"Batch {quoted(batchref)} was created before, and is no longer kept, since nothing of it was left to ship"


def _terms(command: commands.Allocate) -> Terms:
    if command.wait or command.priority or command.needed_by:
        return Terms(command.wait, command.priority, command.needed_by)
    return PLAIN


CommandHandler = Callable[[Any, UnitOfWork], None]
EventHandler = Callable[[Any, UnitOfWork], None]
EventHandlers = Mapping[type[events.Event | events.RaisedEvent], Sequence[EventHandler]]

COMMAND_HANDLERS: Mapping[type[commands.Command], CommandHandler] = {
    commands.Allocate: allocate,
    commands.Deallocate: deallocate,
    commands.Ship: ship,
    commands.ChangeLineQuantity: change_line_quantity,
    commands.Hold: hold,
    commands.LapseHold: lapse_hold,
    commands.CreateBatch: create_batch,
    commands.ChangeBatchQuantity: change_batch_quantity,
    commands.ChangeBatchEta: change_batch_eta,
}

# These run in the transaction of the command.
EVENT_HANDLERS: EventHandlers = {
    events.Allocated: [],
    events.OutOfStock: [],
    events.Backordered: [],
    events.Deallocated: [],
    events.BatchCreated: [],
    events.BatchQuantityChanged: [],
    events.BatchEtaChanged: [],
    events.PromiseChanged: [],
    events.LineQuantityChanged: [],
    events.Shipped: [],
    events.Held: [],
    events.HoldLapsed: [],
    events.CommandRejected: [],
    events.Unsettled: [settle],
}
