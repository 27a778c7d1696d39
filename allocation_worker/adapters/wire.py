"""The wire's shapes and ours: bytes to command, event to bytes. The one place where the two meet."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Protocol

import allocation_contracts as contracts
from allocation_worker.domain import commands, events
from allocation_worker.service_layer.messages import Message
from allocation_worker.service_layer.projection import EventMessage

REJECTED = contracts.CommandRejected.TYPE
EVENT_TYPES = tuple(contracts.EVENTS)


class Delivery(Protocol):
    """A message as the broker delivered it.

    Attributes:
        properties: Unchecked.
        body: As it was sent.
        attempts: How many times processing has failed before.
    """

    @property
    def properties(self) -> contracts.AmqpProperties: ...
    @property
    def body(self) -> bytes: ...
    @property
    def attempts(self) -> int: ...


def read(delivery: Delivery) -> Message:
    """Return the command of a delivery, with what travels beside it.

    Raises:
        ContractViolation: The delivery breaks the contract.
    """
    properties = contracts.read_command_properties(delivery.properties)
    return Message(
        command=_command(contracts.read_command(properties.type, delivery.body)),
        type=properties.type,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        traceparent=properties.traceparent,
        fingerprint=sha256(properties.type.encode() + b"\0" + delivery.body).digest(),
        body=delivery.body,
        attempts=delivery.attempts,
    )


def write(event: events.Event, cause: Message) -> tuple[str, str]:
    """The type and the JSON body of an event; the same event gives the same text."""
    model = _model(event, cause)
    return model.TYPE, contracts.encode(model).decode()


def read_event(delivery: Delivery) -> EventMessage:
    """Return the event of a delivery, as our own subscriber needs it.

    Raises:
        ContractViolation: The delivery breaks the contract, or the event belongs to no SKU.
    """
    properties = delivery.properties
    type_ = str(properties.type or "")
    return EventMessage(
        product_event(type_, delivery.body), type_, str(properties.message_id), str(properties.correlation_id)
    )


def product_event(type_: str, body: bytes) -> events.ProductEvent:
    """The event that `write` has turned into this body.

    Raises:
        ContractViolation: it is none, or belongs to no SKU.
    """
    model = contracts.read_event(type_, body)
    if isinstance(model, contracts.CommandRejected):
        raise contracts.ContractViolation(
            "unexpected-type", f"The type {type_} belongs to no SKU; do not send it here."
        )
    return _EVENTS[type(model)](**dict(model))


def _command(model: contracts.Command) -> commands.Command:
    match model:
        case contracts.Allocate():
            return commands.Allocate(orderid=model.orderid, sku=model.sku, qty=model.qty, lineid=model.lineid)
        case contracts.Deallocate():
            return commands.Deallocate(orderid=model.orderid, sku=model.sku, lineid=model.lineid)
        case contracts.CreateBatch():
            return commands.CreateBatch(batchref=model.batchref, sku=model.sku, qty=model.qty, eta=model.eta)
        case contracts.ChangeBatchQuantity():
            return commands.ChangeBatchQuantity(batchref=model.batchref, qty=model.qty)


def _model(event: events.Event, cause: Message) -> contracts.Event:
    match event:
        case events.Allocated() | events.OutOfStock() | events.Deallocated():
            return _line_model(event)
        case events.BatchCreated():
            return contracts.BatchCreated(
                batchref=event.batchref, sku=event.sku, qty=event.qty, eta=event.eta, sequence=event.sequence
            )
        case events.BatchQuantityChanged():
            return contracts.BatchQuantityChanged(
                batchref=event.batchref,
                sku=event.sku,
                qty=event.qty,
                previous_qty=event.previous_qty,
                sequence=event.sequence,
            )
        case events.CommandRejected():
            _, data = contracts.read_command_with_data(cause.type, cause.body)
            return contracts.CommandRejected(command=cause.type, reason=event.reason, detail=event.detail, data=data)


def _line_model(event: events.Allocated | events.OutOfStock | events.Deallocated) -> contracts.Event:
    match event:
        case events.Allocated():
            return contracts.Allocated(
                orderid=event.orderid,
                sku=event.sku,
                lineid=event.lineid,
                qty=event.qty,
                batchref=event.batchref,
                eta=event.eta,
                sequence=event.sequence,
            )
        case events.OutOfStock():
            return contracts.OutOfStock(
                orderid=event.orderid,
                sku=event.sku,
                lineid=event.lineid,
                qty=event.qty,
                largest_available=event.largest_available,
                next_eta=event.next_eta,
                sequence=event.sequence,
            )
        case events.Deallocated():
            return contracts.Deallocated(
                orderid=event.orderid,
                sku=event.sku,
                lineid=event.lineid,
                qty=event.qty,
                batchref=event.batchref,
                reason=event.reason,
                sequence=event.sequence,
            )


def routing_key(type_: str) -> str:
    """Where on the events exchange events of this type go."""
    return contracts.EVENTS[type_].ROUTING_KEY


_EVENTS: Mapping[type[contracts.Event], type[events.ProductEvent]] = {
    contracts.Allocated: events.Allocated,
    contracts.OutOfStock: events.OutOfStock,
    contracts.Deallocated: events.Deallocated,
    contracts.BatchCreated: events.BatchCreated,
    contracts.BatchQuantityChanged: events.BatchQuantityChanged,
}
