"""The words for an event of the history: what it is about, what it changed, and what it followed."""

from datetime import date

from allocation_worker.cli.tables import shown
from allocation_worker.domain import events
from allocation_worker.domain.events import LineEvent, ProductEvent
from allocation_worker.service_layer.explain import Told
from allocation_worker.service_layer.ports import Rejection


def subject(event: ProductEvent | Rejection) -> tuple[str, str]:
    """Return the SKU, and the line or the batch."""
    match event:
        case Rejection():
            line = "/".join(str(event.data[name]) for name in ("orderid", "lineid") if event.data.get(name))
            return str(event.data.get("sku", "")), line or str(event.data.get("batchref", ""))
        case events.BatchCreated() | events.BatchQuantityChanged() | events.BatchEtaChanged():
            return event.sku, event.batchref
        case _:
            return event.sku, f"{event.orderid}/{event.lineid}" if event.lineid else event.orderid


def change(event: ProductEvent | Rejection) -> str:  # noqa: C901, PLR0911 - one for each event
    """Return what an event changed, in a few words."""
    match event:
        case Rejection():
            return f"{event.command}, {event.reason}: {event.detail}"
        case events.Allocated():
            return f"{event.qty} of batch {event.batchref}, {_where(event.eta)}"
        case events.OutOfStock() | events.Backordered():
            return f"{event.qty} wanted, {event.largest_available} to be had{_next(event)}"
        case events.Deallocated():
            freed = f"{event.qty} back to batch {event.batchref}" if event.batchref else "held no stock"
            return f"{freed} ({event.reason})"
        case events.BatchCreated():
            return f"{event.qty}, {_where(event.eta)}"
        case events.BatchQuantityChanged():
            return f"from {event.previous_qty} to {event.qty}"
        case events.BatchEtaChanged():
            return f"{_where(event.previous_eta)}, now {_where(event.eta)}"
        case events.PromiseChanged():
            return f"{event.qty} of batch {event.batchref}, {_where(event.previous_eta)}, now {_where(event.eta)}"
        case events.Shipped():
            return f"{event.qty} of batch {event.batchref} shipped"
        case events.Held():
            return f"{event.qty} of batch {event.batchref}, {_where(event.eta)}, until {shown(event.until)}"
        case events.HoldLapsed():
            return f"{event.qty} back to batch {event.batchref}"
        case events.LineQuantityChanged():
            return _quantities(event)


def _quantities(event: events.LineQuantityChanged) -> str:
    stock = f" of batch {event.batchref}, {_where(event.eta)}" if event.batchref else ", it holds no stock"
    return f"from {event.previous_qty} to {event.qty}{stock}"


def _next(event: events.OutOfStock | events.Backordered) -> str:
    return f", another batch with stock is due on {event.next_eta}" if event.next_eta else ""


def _where(eta: date | None) -> str:
    return f"due on {eta}" if eta else "in the warehouse"


def outcome(event: ProductEvent | Rejection) -> str:  # noqa: C901, PLR0911 - one for each event
    """Return the outcome of a command in one sentence."""
    match event:
        case Rejection():
            return f"{event.command} was rejected, {event.reason}: {event.detail} No batch was considered."
        case events.Allocated():
            return (
                f"allocate.v1 asked for {event.qty} for {line(event)}: allocated to batch {event.batchref}, "
                f"{_where(event.eta)}."
            )
        case events.OutOfStock() | events.Backordered():
            short = "it waits for stock" if isinstance(event, events.Backordered) else "out of stock"
            return (
                f"{_capital(line(event))} wanted {event.qty}: {short}, "  # allocate.v1 or hold.v1 asked
                f"the most that one batch could give was {event.largest_available}{_next(event)}."
            )
        case events.Deallocated():
            freed = f"{event.qty} went back to batch {event.batchref}" if event.batchref else "it held no stock"
            return f"deallocate.v1 cancelled {line(event)}: {freed}."
        case events.BatchCreated():
            return f"create-batch.v1 added batch {event.batchref}: {event.qty} of SKU {event.sku}, {_where(event.eta)}."
        case events.BatchQuantityChanged():
            return (
                f"change-batch-quantity.v1 changed batch {event.batchref} of SKU {event.sku} "
                f"from {event.previous_qty} to {event.qty}."
            )
        case events.BatchEtaChanged():
            return (
                f"change-batch-eta.v1 changed batch {event.batchref} of SKU {event.sku}: "
                f"{_where(event.previous_eta)}, now {_where(event.eta)}."
            )
        case events.PromiseChanged():
            return (
                f"{_capital(line(event))} stays with batch {event.batchref}: {_where(event.previous_eta)}, "
                f"now {_where(event.eta)}."
            )
        case events.Shipped():
            return f"ship.v1 shipped {line(event)}: {event.qty} of batch {event.batchref}."
        case events.Held():
            return (
                f"hold.v1 asked for {event.qty} for {line(event)}: held in batch {event.batchref}, "
                f"{_where(event.eta)}, until {shown(event.until)}."
            )
        case events.HoldLapsed():
            return f"The hold of {line(event)} lapsed: {event.qty} went back to batch {event.batchref}."
        case events.LineQuantityChanged():
            return f"change-line-quantity.v1 changed {line(event)} {_quantities(event)}."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def because(told: Told) -> str:
    """Return what an event followed: the outcome of its command, if it is not the outcome itself; else nothing."""
    followed = told.because
    if followed is None:
        return "its time had passed" if isinstance(told.answer.event, events.HoldLapsed) else ""
    about = subject(followed)[1]
    match followed:
        case events.BatchCreated():
            words = f"batch {about} was created"
        case events.BatchQuantityChanged() | events.BatchEtaChanged():
            words = f"batch {about}: {change(followed)}"
        case events.Deallocated():
            words = f"order {about} was cancelled"
        case events.HoldLapsed():
            words = f"the hold of order {about} lapsed"
        case events.Held():
            words = f"the hold of order {about} was changed"
        case events.LineQuantityChanged():
            words = f"order {about}: {change(followed)}"
        case _:
            words = f"order {about} gave up its hold"
    return words


def line(event: LineEvent) -> str:
    """Return the name of the line that an event is about."""
    suffix = f", lineid {event.lineid}" if event.lineid else ""
    return f"order {event.orderid}, SKU {event.sku}{suffix}"
