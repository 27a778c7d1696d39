"""Describes the exchanges and messages as AsyncAPI 3: `python -m tools.asyncapi FILE`."""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from allocation_contracts.commands import COMMANDS
from allocation_contracts.events import EVENTS, CommandRejected
from allocation_contracts.message import Message, encode
from allocation_contracts.names import (
    APP_ID,
    CAUSATION_ID_HEADER,
    COMMANDS_EXCHANGE,
    CONTENT_TYPE,
    DEAD_LETTERS,
    EVENTS_EXCHANGE,
    TRACEPARENT_HEADER,
    TRACESTATE_HEADER,
)
from allocation_contracts.properties import MAX_ID_CHARACTERS, MAX_TRACESTATE_CHARACTERS
from tools.examples import EXAMPLES
from tools.schemas import schema_of

_USAGE_ERROR = 2
_BINDING = {"bindingVersion": "0.3.0"}

_INTRODUCTION = f"""\
Commands come in at the topic exchange `{COMMANDS_EXCHANGE}`, events go out at the topic exchange `{EVENTS_EXCHANGE}`.
Both are AMQP 0-9-1, with a JSON object in UTF-8 as the body: the fields themselves, without an envelope. What AMQP
carries beside the body stands under *Headers* below: each says whether it is a property or a header.

A command that the broker has confirmed is never lost. It is answered by exactly one outcome event, whose header
`{CAUSATION_ID_HEADER}` is the command's `message_id`, or it is in the queue `{DEAD_LETTERS}` with `x-reason` and
`x-detail`. Publish a command again under the same `message_id` when you can't tell whether the broker has it: it has
its effect once.

What a command does to other lines follows its outcome, as events with the same `{CAUSATION_ID_HEADER}`: a batch that
grows serves lines that wait, one that shrinks or comes too late moves lines. A `hold-lapsed.v1` names the message of
its `hold.v1`.

Declare the exchange `{COMMANDS_EXCHANGE}` passively, or not at all: it has the argument `alternate-exchange`, and the
broker refuses a plain declaration with 406 `PRECONDITION_FAILED`.

Events come at least once, each SKU's in order. `sequence` counts the events of one SKU, 1, 2, 3: one that is not
higher than the last is a repeat, a jump is a loss, or comes once after the worker's database was restored from a
backup. Readers ignore fields that they don't know; a breaking change is a new type.
"""

_OUTCOMES: Mapping[str, str] = {
    "allocate.v1": "`allocated.v1`, `out-of-stock.v1`, `backordered.v1` or `command-rejected.v1`; "
    "asked again, what answered the line last: also `promise-changed.v1` or `line-quantity-changed.v1`",
    "deallocate.v1": "`deallocated.v1` or `command-rejected.v1`",
    "ship.v1": "`shipped.v1` or `command-rejected.v1`",
    "change-line-quantity.v1": "`line-quantity-changed.v1` or `command-rejected.v1`; where nothing changes, what "
    "answered the line last: `allocated.v1`, `held.v1`, `promise-changed.v1` or `backordered.v1`",
    "hold.v1": "`held.v1`, `out-of-stock.v1` or `command-rejected.v1`; asked again, what answered the line last: also "
    "`allocated.v1`, `promise-changed.v1` or `line-quantity-changed.v1`",
    "create-batch.v1": "`batch-created.v1` or `command-rejected.v1`",
    "change-batch-quantity.v1": "`batch-quantity-changed.v1` or `command-rejected.v1`",
    "change-batch-eta.v1": "`batch-eta-changed.v1` or `command-rejected.v1`",
}


def document() -> dict[str, Any]:
    """Give the AsyncAPI document."""
    messages = {**COMMANDS, **EVENTS}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:allocation-worker",
        "info": {
            "title": "Allocation worker",
            "version": version("allocation-contracts"),
            "description": _INTRODUCTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "RabbitMQ 3.10 or later; where it is stands in ALLOCATION_AMQP_URL.",
            }
        },
        "channels": {_name(model): _channel(model) for model in messages.values()},
        "operations": {_name(model): _operation(model) for model in messages.values()},
        "components": {
            "messages": {type_: _message(model) for type_, model in messages.items()},
            "schemas": {
                **{schema["title"]: schema for schema in (command_properties_schema(), event_properties_schema())},
                **{model.__name__: _payload(model) for model in messages.values()},
            },
        },
    }


def text() -> str:
    """Give the document as YAML.

    Raises:
        ImportError: PyYAML is not installed. Only who changes the contract needs it.
    """
    import yaml  # noqa: PLC0415 - not a dependency of those who install the wheel

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 - PyYAML's signature
            del data
            return True

    Dumper.add_representer(
        str,
        lambda dumper, value: dumper.represent_scalar(
            "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
        ),
    )
    header = "# Generated from the models by `make schemas`; a test fails when it is not what they say.\n"
    return header + yaml.dump(document(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def main(arguments: list[str]) -> int:
    """Write the document into the file that is the only argument."""
    if len(arguments) != 1:
        print("usage: python -m tools.asyncapi FILE", file=sys.stderr)  # noqa: T201 - a command's output
        return _USAGE_ERROR
    Path(arguments[0]).write_text(text(), encoding="utf-8")
    return 0


def _name(model: type[Message]) -> str:
    return model.__name__[0].lower() + model.__name__[1:]


def _is_command(model: type[Message]) -> bool:
    return model.TYPE in COMMANDS


def _channel(model: type[Message]) -> dict[str, Any]:
    exchange = COMMANDS_EXCHANGE if _is_command(model) else EVENTS_EXCHANGE
    return {
        "address": model.ROUTING_KEY,
        "title": model.ROUTING_KEY,
        "description": f"The routing key `{model.ROUTING_KEY}` of the exchange `{exchange}`.",
        "messages": {model.TYPE: {"$ref": f"#/components/messages/{model.TYPE}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": exchange, "type": "topic", "durable": True, "autoDelete": False},
                **_BINDING,
            }
        },
    }


def _operation(model: type[Message]) -> dict[str, Any]:
    if model.TYPE in COMMANDS:
        action, amqp = "receive", {"deliveryMode": 2, "mandatory": True, "ack": True}
        description = f"Taken from the queue `{COMMANDS[model.TYPE].QUEUE}`, and answered by {_OUTCOMES[model.TYPE]}."
    else:
        action, amqp = "send", {"deliveryMode": 2, "mandatory": True, "timestamp": True}
        description = f"Bind a durable queue of your own to the routing key `{model.ROUTING_KEY}`."
    return {
        "action": action,
        "title": model.TYPE,
        "summary": _summary(model),
        "description": description,
        "channel": {"$ref": f"#/channels/{_name(model)}"},
        "messages": [{"$ref": f"#/channels/{_name(model)}/messages/{model.TYPE}"}],
        "bindings": {"amqp": {**amqp, **_BINDING}},
    }


def _message(model: type[Message]) -> dict[str, Any]:
    kind = "Command" if _is_command(model) else "Event"
    return {
        "name": model.TYPE,
        "title": model.TYPE,
        "summary": _summary(model),
        "contentType": CONTENT_TYPE,
        "correlationId": {
            "description": "Ties together the messages of one business process: the command's, else its message_id.",
            "location": "$message.header#/correlation_id",
        },
        "headers": {"$ref": f"#/components/schemas/{kind}Properties"},
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "bindings": {"amqp": {"contentEncoding": "utf-8", "messageType": model.TYPE, **_BINDING}},
        "examples": [{"name": model.ROUTING_KEY, "headers": _example_properties(model), "payload": _example(model)}],
    }


def _summary(model: type[Message]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


def _payload(model: type[Message]) -> dict[str, Any]:
    # The dialect is AsyncAPI's own here; the models keep to what it shares with draft 2020-12.
    return {key: value for key, value in schema_of(model).items() if key not in ("$schema", "$id")}


def _example(model: type[Message]) -> Any:  # noqa: ANN401 - JSON
    return json.loads(encode(EXAMPLES[model.TYPE]))


def _example_properties(model: type[Message]) -> dict[str, Any]:
    common = {"type": model.TYPE, "content_type": CONTENT_TYPE, "delivery_mode": 2, "correlation_id": "order-17"}
    if _is_command(model):
        return {"message_id": f"{model.ROUTING_KEY}/order-17/1", **common, "app_id": "shop"}
    cause = "allocate/order-17/1" if model is not CommandRejected else "allocate/order-19/1"
    return {
        "message_id": "6f1f1a0e-6b8f-5d5c-9d53-0c2f4a8f3a11",
        **common,
        CAUSATION_ID_HEADER: cause,
        "app_id": APP_ID,
        "timestamp": 1_893_456_000,
    }


def _id(description: str) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARACTERS, "description": description}


def _common_properties() -> dict[str, Any]:
    return {
        "type": {"type": "string", "description": "Property `type`: the message's type, such as allocate.v1."},
        "content_type": {"const": CONTENT_TYPE, "description": f"Property `content_type`: {CONTENT_TYPE}."},
        "delivery_mode": {"const": 2, "description": "Property `delivery_mode`: 2, persistent."},
        "timestamp": {"type": "integer", "description": "Property `timestamp`: seconds since the epoch."},
        TRACEPARENT_HEADER: {
            "type": "string",
            "maxLength": MAX_ID_CHARACTERS,
            "description": f"Header `{TRACEPARENT_HEADER}`: the W3C trace context, carried through. A broken one is "
            "dropped.",
        },
        TRACESTATE_HEADER: {
            "type": "string",
            "maxLength": MAX_TRACESTATE_CHARACTERS,
            "description": f"Header `{TRACESTATE_HEADER}`: what tracers add to the trace context, carried through. A "
            "broken one is dropped, and so is one without a traceparent.",
        },
    }


def command_properties_schema() -> dict[str, Any]:
    """Say in JSON Schema what AMQP carries beside the body of a command."""
    return {
        "title": "CommandProperties",
        "type": "object",
        "required": ["message_id", "type"],
        "properties": {
            "message_id": _id("Property `message_id`: the idempotency key, of your choice."),
            **_common_properties(),
            "correlation_id": {
                **_id(
                    "Property `correlation_id`: ties together the messages of one business process; empty is absent."
                ),
                "minLength": 0,
            },
            "app_id": {"type": "string", "description": "Property `app_id`: the publishing program."},
        },
    }


def event_properties_schema() -> dict[str, Any]:
    """Say in JSON Schema what AMQP carries beside the body of an event."""
    return {
        "title": "EventProperties",
        "type": "object",
        "required": ["message_id", "type", "content_type", "delivery_mode", "correlation_id", CAUSATION_ID_HEADER],
        "properties": {
            "message_id": _id("Property `message_id`: the event's own, the same however often it is published."),
            **_common_properties(),
            "correlation_id": _id("Property `correlation_id`: the command's, else the command's message_id."),
            CAUSATION_ID_HEADER: _id(f"Header `{CAUSATION_ID_HEADER}`: the command's message_id."),
            "app_id": {"const": APP_ID, "description": f"Property `app_id`: {APP_ID}."},
        },
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
