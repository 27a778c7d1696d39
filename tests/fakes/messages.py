"""Incoming messages, made from commands."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import allocation_contracts as contracts
from allocation_worker.adapters import wire
from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    LapseHold,
    Ship,
)
from allocation_worker.service_layer import lapse
from allocation_worker.service_layer.messages import CommandMessage

_numbers = count(1)

_MODELS: Mapping[type[Command], type[contracts.Command]] = {
    Allocate: contracts.Allocate,
    Deallocate: contracts.Deallocate,
    Ship: contracts.Ship,
    ChangeLineQuantity: contracts.ChangeLineQuantity,
    Hold: contracts.Hold,
    CreateBatch: contracts.CreateBatch,
    ChangeBatchQuantity: contracts.ChangeBatchQuantity,
    ChangeBatchEta: contracts.ChangeBatchEta,
}


@dataclass(frozen=True, kw_only=True)
class FakeProperties:
    """AMQP properties, without pika: those of a valid command, unless said otherwise."""

    message_id: object = "m-1"
    type: object = "allocate.v1"
    content_type: object = "application/json"
    correlation_id: object = None
    headers: Mapping[str, Any] | None = None
    timestamp: object = None
    content_encoding: object = None


@dataclass(frozen=True, kw_only=True)
class FakeDelivery:
    """What the wire reads."""

    body: bytes
    properties: FakeProperties = FakeProperties()
    attempts: int = 0
    queue: str = contracts.ORDERS_QUEUE
    routing_key: str = ""
    generation: int = 1


def delivery(
    command: Command,
    message_id: str | None = None,
    *,
    correlation_id: str | None = None,
    traceparent: str | None = None,
    attempts: int = 0,
) -> FakeDelivery:
    """The command as another program would send it, under an id of its own if none is given."""
    kind = _MODELS[type(command)]
    model = kind(**{name: value for name, value in asdict(command).items() if name in kind.model_fields})
    return FakeDelivery(
        body=contracts.encode(model),
        properties=FakeProperties(
            message_id=message_id or f"message-{next(_numbers)}",
            type=model.TYPE,
            correlation_id=correlation_id,
            headers=None if traceparent is None else {contracts.TRACEPARENT_HEADER: traceparent},
        ),
        attempts=attempts,
    )


def message(
    command: Command,
    message_id: str | None = None,
    *,
    correlation_id: str | None = None,
    traceparent: str | None = None,
    attempts: int = 0,
) -> CommandMessage:
    """The same, understood. No other program sends the command that ends a hold."""
    if isinstance(command, LapseHold):
        cause = (command.message_id, command.message_id)
        return lapse.message_of(lapse.DueHold(command.sku, command.orderid, command.lineid, *cause))
    if isinstance(command, Hold) and command.message_id:
        message_id = command.message_id
    return wire.read(
        delivery(command, message_id, correlation_id=correlation_id, traceparent=traceparent, attempts=attempts)
    )
