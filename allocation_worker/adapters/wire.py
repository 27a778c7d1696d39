"""Translate between the wire and the domain: bytes to commands, events to bytes.

A message has the same fields on the wire and in the domain, so one table for each direction is all that is needed.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from time import time
from typing import Any, Protocol

import structlog
from pydantic import TypeAdapter

import allocation_contracts as contracts
from allocation_contracts import strict_json
from allocation_contracts.commands import QUEUES_BY_ROUTING_KEY
from allocation_contracts.errors import show
from allocation_contracts.message import model_of, validate
from allocation_worker.domain import commands, events
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import CountedEvent, ProjectedEvent, RejectionView
from allocation_worker.service_layer.project import EventMessage

log = structlog.get_logger()

WRONG_QUEUE = "wrong-queue"
"""The reason of a dead letter whose type belongs to another queue."""

REJECTED = contracts.CommandRejected.TYPE
EVENT_TYPES = tuple(contracts.EVENTS)

_END_OF_TIME = datetime.max.replace(tzinfo=UTC).timestamp()


class IncomingMessage(Protocol):
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


class QueuedMessage(IncomingMessage, Protocol):
    """A message that was taken from a command queue.

    Attributes:
        queue: The queue's name.
        routing_key: The one that it was published with.
    """

    @property
    def queue(self) -> str: ...
    @property
    def routing_key(self) -> str: ...


def read(delivery: IncomingMessage) -> CommandMessage:
    """Return the command of a delivery, with what travels beside it.

    Raises:
        ContractError: The delivery breaks the contract.
    """
    properties = contracts.read_command_properties(delivery.properties)
    model = model_of(properties.type, contracts.COMMANDS)
    data = strict_json.read(delivery.body, content_encoding=delivery.properties.content_encoding)
    fields = validate(model, data).__dict__
    if model is contracts.Hold:
        fields = fields | {"message_id": properties.message_id, "correlation_id": properties.correlation_id}
    if (headers := delivery.properties.headers) and properties.tracestate is None:
        _tell_dropped_trace(properties, headers)
    return CommandMessage(
        command=_COMMANDS[model](**fields),
        type=properties.type,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        traceparent=properties.traceparent,
        fingerprint=sha256(properties.type.encode() + b"\0" + delivery.body).digest(),
        data=data,
        attempts=delivery.attempts,
        tracestate=properties.tracestate,
    )


def read_queued(delivery: QueuedMessage) -> CommandMessage:
    """Return the command of a delivery that was taken from a command queue.

    Each kind of command has its queue, so that who may send one kind cannot send the other past its order. The routing
    key is compared too: a `CC` header brings a message to queues whose routing keys its sender may not use.

    Raises:
        ContractError: The delivery breaks the contract, or came by the queue or the routing key of the other kind:
            `wrong-queue`.
    """
    message = read(delivery)
    command = contracts.COMMANDS[message.type]
    sent_to = QUEUES_BY_ROUTING_KEY.get(delivery.routing_key, delivery.queue)
    if delivery.queue != command.QUEUE or sent_to != command.QUEUE:
        raise contracts.ContractError(
            WRONG_QUEUE,
            f"The type {message.type} belongs to the queue {command.QUEUE}, and came by {delivery.queue} with "
            f"the routing key {delivery.routing_key}; publish it with the routing key {command.ROUTING_KEY}.",
        )
    return message


def _tell_dropped_trace(about: contracts.CommandProperties, headers: Mapping[str, Any]) -> None:
    parent, state = headers.get(contracts.TRACEPARENT_HEADER), headers.get(contracts.TRACESTATE_HEADER)
    if about.traceparent is None and parent is not None and parent != "":
        _of_message(about).debug("traceparent_dropped", traceparent=show(parent))
    if state is not None and state != "":
        _of_message(about).debug("tracestate_dropped", tracestate=show(state))


def _of_message(about: contracts.CommandProperties) -> structlog.typing.FilteringBoundLogger:
    bound: structlog.typing.FilteringBoundLogger = log.bind(
        message_id=about.message_id, correlation_id=about.correlation_id, type=about.type
    )
    return bound


def write(event: events.Event, cause: CommandMessage) -> tuple[str, str]:
    """Return the type and the JSON body of an event; the same event gives the same text."""
    if isinstance(event, events.CommandRejected):
        model = contracts.CommandRejected(command=cause.type, reason=event.reason, detail=event.detail, data=cause.data)
        return model.TYPE, contracts.encode(model).decode()
    return write_product_event(event)


def write_product_event(event: events.ProductEvent) -> tuple[str, str]:
    """Return the type and the JSON body of an event of a SKU; the same event gives the same text."""
    return _MODELS[type(event)].TYPE, _TO_JSON[type(event)](event).decode()


def quoted(text: str) -> str:
    """Return a text as it stands in the JSON of a body."""
    return json.dumps(text, ensure_ascii=False)


def read_event(delivery: IncomingMessage) -> EventMessage:
    """Return the event of a delivery, as our own subscriber needs it.

    Raises:
        ContractError: The delivery breaks the contract.
    """
    properties = delivery.properties
    type_ = str(properties.type or "")
    message_id, correlation_id = str(properties.message_id), str(properties.correlation_id)
    if type_ != REJECTED:
        return EventMessage(projected_event(type_, delivery.body), type_, message_id, correlation_id)
    stamp = properties.timestamp
    seconds = stamp if isinstance(stamp, int) and 0 <= stamp < _END_OF_TIME else time()
    rejected = rejection(delivery.body, datetime.fromtimestamp(seconds, UTC))
    return EventMessage(None, type_, message_id, correlation_id, rejected)


def rejection(body: bytes, rejected_at: datetime) -> RejectionView | None:
    """Return what a `command-rejected` event says of an order; None if its command names no order.

    Raises:
        ContractError: The body is no such event.
    """
    model = contracts.read_event(REJECTED, body)
    if not isinstance(model, contracts.CommandRejected) or not isinstance(model.data.get("orderid"), str):
        return None
    orderid, sku, lineid = (str(model.data.get(name, "")) for name in ("orderid", "sku", "lineid"))
    return RejectionView(orderid, sku, lineid, model.command, model.reason, model.detail, rejected_at)


def projected_event(type_: str, body: bytes) -> ProjectedEvent | None:
    """Return an event of a SKU; of an unknown type, only its SKU and sequence, or None if it has none.

    Raises:
        ContractError: The body is no event.
    """
    if not type_ or type_ in contracts.EVENTS:
        return product_event(type_, body)
    unknown = contracts.read_unknown_event(type_, body)
    return None if unknown is None else CountedEvent(unknown.sku, unknown.sequence)


def type_of(kind: type[events.ProductEvent]) -> str:
    """Return the type of an event on the wire."""
    return _MODELS[kind].TYPE


def product_event(type_: str, body: bytes) -> events.ProductEvent:
    """Return the event that `write` has turned into this body.

    Raises:
        ContractError: The body is no event, or an event that belongs to no SKU.
    """
    model = contracts.read_event(type_, body)
    if isinstance(model, contracts.CommandRejected):
        raise contracts.ContractError("unexpected-type", f"The type {type_} belongs to no SKU; do not send it here.")
    return _EVENTS[type(model)](**model.__dict__)


def routing_key(type_: str) -> str:
    """Return the key that events of this type are published with."""
    return contracts.EVENTS[type_].ROUTING_KEY


_COMMANDS: Mapping[type[contracts.Command], type[commands.Command]] = {
    contracts.Allocate: commands.Allocate,
    contracts.Deallocate: commands.Deallocate,
    contracts.Ship: commands.Ship,
    contracts.ChangeLineQuantity: commands.ChangeLineQuantity,
    contracts.Hold: commands.Hold,
    contracts.CreateBatch: commands.CreateBatch,
    contracts.ChangeBatchQuantity: commands.ChangeBatchQuantity,
    contracts.ChangeBatchEta: commands.ChangeBatchEta,
}

_MODELS: Mapping[type[events.ProductEvent], type[contracts.SkuEvent]] = {
    events.Allocated: contracts.Allocated,
    events.OutOfStock: contracts.OutOfStock,
    events.Backordered: contracts.Backordered,
    events.Deallocated: contracts.Deallocated,
    events.BatchCreated: contracts.BatchCreated,
    events.BatchQuantityChanged: contracts.BatchQuantityChanged,
    events.BatchEtaChanged: contracts.BatchEtaChanged,
    events.PromiseChanged: contracts.PromiseChanged,
    events.LineQuantityChanged: contracts.LineQuantityChanged,
    events.Shipped: contracts.Shipped,
    events.Held: contracts.Held,
    events.HoldLapsed: contracts.HoldLapsed,
}

# Not by way of the model, whose check takes twice as long: all that is in an event was checked as it came in.
_TO_JSON: Mapping[type[events.ProductEvent], Callable[[events.ProductEvent], bytes]] = {
    event: TypeAdapter(event).serializer.to_json for event in _MODELS
}

_EVENTS: Mapping[type[contracts.SkuEvent], type[events.ProductEvent]] = {
    model: event for event, model in _MODELS.items()
}
