"""The AMQP properties that commands and events carry: read and build them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from allocation_contracts.commands import Command
from allocation_contracts.errors import ContractViolation, show
from allocation_contracts.names import ATTEMPTS_HEADER, CAUSATION_ID_HEADER, CONTENT_TYPE, TRACEPARENT_HEADER

MAX_ID_CHARACTERS = 255
MAX_ATTEMPTS = 1_000

_PERSISTENT = 2
_is_json = re.compile(r"application/json[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandProperties:
    """What a command's properties say, once they have been checked.

    Attributes:
        message_id: The idempotency key.
        type: The command's type; whether it is a known one is for `read_command` to say.
        correlation_id: The one that was sent, else the message_id.
        traceparent: The W3C trace context to carry through, if any.
        attempts: How many times the worker has retried the message already.
    """

    message_id: str
    type: str
    correlation_id: str
    traceparent: str | None
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventProperties:
    """What an event's properties say, once they have been checked.

    Attributes:
        message_id: The event's own, the same however often it is published.
        type: The event's type; whether it is a known one is for `read_event` to say.
        correlation_id: The command's, else the command's message_id.
        causation_id: The message_id of the command that caused the event.
        traceparent: The W3C trace context that came with the command, if any.
        timestamp: When it was decided, in seconds since the epoch, if that is told.
    """

    message_id: str
    type: str
    correlation_id: str
    causation_id: str
    traceparent: str | None
    timestamp: int | None = None


def read_event_properties(
    *,
    message_id: object,
    type: object,  # noqa: A002 - AMQP's own name for it
    content_type: object,
    correlation_id: object,
    headers: Mapping[str, Any] | None,
    timestamp: object = None,
) -> EventProperties:
    """Check the properties of an event as they came off the wire; None means absent.

    Raises:
        ContractViolation: As `read_properties`; `invalid-header` also for a missing causation_id.
    """
    common = read_properties(
        message_id=message_id, type=type, content_type=content_type, correlation_id=correlation_id, headers=headers
    )
    causation_id = (headers or {}).get(CAUSATION_ID_HEADER)
    if not (isinstance(causation_id, str) and _is_id(causation_id)):
        raise _violation(f"The header {CAUSATION_ID_HEADER}", _ID_WORDS, causation_id)
    return EventProperties(
        message_id=common.message_id,
        type=common.type,
        correlation_id=common.correlation_id,
        causation_id=causation_id,
        traceparent=common.traceparent,
        timestamp=timestamp if isinstance(timestamp, int) else None,
    )


def read_properties(
    *,
    message_id: object,
    type: object,  # noqa: A002 - AMQP's own name for it
    content_type: object,
    correlation_id: object,
    headers: Mapping[str, Any] | None,
) -> CommandProperties:
    """Check the properties of a command as they came off the wire; None means absent.

    Raises:
        ContractViolation: `missing-message-id`, `invalid-message-id`, `missing-type`, `unsupported-content-type`, or
            `invalid-header` for the correlation_id and the headers.
    """
    if not (isinstance(message_id, str) and _is_id(message_id)):
        raise _bad_message_id(message_id)
    if not (isinstance(type, str) and type):
        raise _violation("The property type", "the command's type, as in allocate.v1", type, reason="missing-type")
    if content_type is not None and content_type != CONTENT_TYPE:
        _check_content_type(content_type)
    if correlation_id is None:
        correlation_id = message_id
    elif not (isinstance(correlation_id, str) and _is_id(correlation_id)):
        raise _violation("The property correlation_id", _ID_WORDS, correlation_id)
    return CommandProperties(
        message_id=message_id,
        type=type,
        correlation_id=correlation_id,
        traceparent=_traceparent(headers) if headers else None,
        attempts=_attempts(headers) if headers else 0,
    )


def command_properties(
    command: Command,
    *,
    message_id: str,
    correlation_id: str | None = None,
    traceparent: str | None = None,
    app_id: str | None = None,
    timestamp: int | None = None,
) -> dict[str, Any]:
    """Build the properties to publish a command with, to its ROUTING_KEY on COMMANDS_EXCHANGE.

    Args:
        command: The command that will be the body.
        message_id: The idempotency key: the same for every publication of the same request, 255 UTF-8 bytes at most.
        correlation_id: Ties together the messages of one business process.
        traceparent: The W3C trace context.
        app_id: The publishing program.
        timestamp: Seconds since the epoch.

    Returns:
        Arguments for `pika.BasicProperties(**...)`.

    Raises:
        ContractViolation: The worker would refuse these properties, or AMQP could not carry them.
    """
    headers = None if traceparent is None else {TRACEPARENT_HEADER: traceparent}
    _check_sendable(command.TYPE, message_id, correlation_id, headers)
    return {
        "content_type": CONTENT_TYPE,
        "type": command.TYPE,
        "message_id": message_id,
        "correlation_id": correlation_id,
        "headers": headers,
        "app_id": app_id,
        "timestamp": timestamp,
        "delivery_mode": _PERSISTENT,
    }


_ID_WORDS = f"text of 1 to {MAX_ID_CHARACTERS} printable characters (bytes, in UTF-8) without blanks at the ends"


def _check_sendable(type_: str, message_id: str, correlation_id: str | None, headers: dict[str, Any] | None) -> None:
    read_properties(
        message_id=message_id, type=type_, content_type=CONTENT_TYPE, correlation_id=correlation_id, headers=headers
    )
    # An AMQP short string is limited in bytes; what came off the wire has kept to that.
    if len(message_id.encode()) > MAX_ID_CHARACTERS:
        raise _bad_message_id(message_id)
    if correlation_id is not None and len(correlation_id.encode()) > MAX_ID_CHARACTERS:
        raise _violation("The property correlation_id", _ID_WORDS, correlation_id)


def _is_id(value: str) -> bool:
    # The space is the only blank that is printable.
    return 0 < len(value) <= MAX_ID_CHARACTERS and value.isprintable() and value[0] != " " != value[-1]


def _bad_message_id(value: object) -> ContractViolation:
    if value is None or value == "":
        return ContractViolation(
            "missing-message-id", "The property message_id is missing; send one that identifies the request."
        )
    return _violation("The property message_id", _ID_WORDS, value, reason="invalid-message-id")


def _check_content_type(value: object) -> None:
    if not (isinstance(value, str) and _is_json(value)):
        raise _violation(
            "The property content_type", f"{CONTENT_TYPE} or absent", value, reason="unsupported-content-type"
        )


def _traceparent(headers: Mapping[str, Any]) -> str | None:
    value = headers.get(TRACEPARENT_HEADER)
    if value is None or (isinstance(value, str) and len(value) <= MAX_ID_CHARACTERS and value.isprintable()):
        return value
    words = f"text of at most {MAX_ID_CHARACTERS} printable characters"
    raise _violation(f"The header {TRACEPARENT_HEADER}", words, value)


def _attempts(headers: Mapping[str, Any]) -> int:
    value = headers.get(ATTEMPTS_HEADER, 0)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ATTEMPTS:
        return value
    raise _violation(f"The header {ATTEMPTS_HEADER}", f"an integer from 0 to {MAX_ATTEMPTS}", value)


def _violation(name: str, words: str, value: object, *, reason: str = "invalid-header") -> ContractViolation:
    return ContractViolation(reason, f"{name} must be {words}, got {show(value)}.")
