"""Events as a subscriber receives them, for the tests of the demo."""

from datetime import date
from itertools import count

from pika.spec import BasicProperties

import allocation_contracts as contracts
from harness.checker.messages import ReceivedEvent

_numbers = count(1)


def received(event: contracts.Event, *, message_id: str = "", cause: str = "a-command") -> ReceivedEvent:
    return ReceivedEvent(
        type=event.TYPE,
        message_id=message_id or f"event-{next(_numbers)}",
        correlation_id=cause,
        causation_id=cause,
        routing_key=event.ROUTING_KEY,
        body=contracts.encode(event),
        data=event.model_dump(mode="json"),
        properties=BasicProperties(),
    )


def created(batchref: str, qty: int, *, sku: str = "LAMP", eta: date | None = None) -> contracts.BatchCreated:
    return contracts.BatchCreated(batchref=batchref, sku=sku, qty=qty, eta=eta, sequence=1)


def shrunk(batchref: str, previous: int, qty: int) -> contracts.BatchQuantityChanged:
    return contracts.BatchQuantityChanged(batchref=batchref, sku="LAMP", qty=qty, previous_qty=previous, sequence=1)


def allocated(orderid: str, batchref: str, qty: int) -> contracts.Allocated:
    return contracts.Allocated(orderid=orderid, sku="LAMP", lineid="", qty=qty, batchref=batchref, eta=None, sequence=1)


def taken_off(orderid: str, batchref: str, qty: int) -> contracts.Deallocated:
    return contracts.Deallocated(
        orderid=orderid, sku="LAMP", lineid="", qty=qty, batchref=batchref, reason="batch-quantity-changed", sequence=1
    )


def cancelled(orderid: str, batchref: str | None, qty: int) -> contracts.Deallocated:
    return contracts.Deallocated(
        orderid=orderid, sku="LAMP", lineid="", qty=qty, batchref=batchref, reason="cancelled", sequence=1
    )


def out_of_stock(orderid: str, qty: int, largest: int, *, next_eta: date | None = None) -> contracts.OutOfStock:
    return contracts.OutOfStock(
        orderid=orderid, sku="LAMP", lineid="", qty=qty, largest_available=largest, next_eta=next_eta, sequence=1
    )


def backordered(orderid: str, qty: int, largest: int) -> contracts.Backordered:
    return contracts.Backordered(
        orderid=orderid, sku="LAMP", lineid="", qty=qty, largest_available=largest, next_eta=None, sequence=1
    )


def comes(batchref: str, eta: date | None, previous: date) -> contracts.BatchEtaChanged:
    return contracts.BatchEtaChanged(batchref=batchref, sku="LAMP", eta=eta, previous_eta=previous, sequence=1)


def promised(orderid: str, batchref: str, qty: int, eta: date | None, previous: date) -> contracts.PromiseChanged:
    return contracts.PromiseChanged(
        orderid=orderid, sku="LAMP", lineid="", qty=qty, batchref=batchref, eta=eta, previous_eta=previous, sequence=1
    )


def shipped(orderid: str, batchref: str, qty: int) -> contracts.Shipped:
    return contracts.Shipped(orderid=orderid, sku="LAMP", lineid="", qty=qty, batchref=batchref, sequence=1)
