"""Read and build the AMQP properties of commands and events."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from allocation_contracts.commands import COMMANDS, Command
from allocation_contracts.errors import ContractError, show
from allocation_contracts.events import EVENTS
from allocation_contracts.message import missing_type
from allocation_contracts.names import CAUSATION_ID_HEADER, CONTENT_TYPE, TRACEPARENT_HEADER, TRACESTATE_HEADER

MAX_ID_CHARACTERS = 255
MAX_TRACESTATE_CHARACTERS = 512
"""As many as W3C asks everybody to carry."""

_PERSISTENT = 2
# W3C Trace Context: a version above 00 may be followed by more.
_TRACE = r"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_is_traceparent = re.compile(rf"00{_TRACE}|(?!00|ff)[0-9a-f]{{2}}{_TRACE}(?:-[!-~]*)?").fullmatch
_MEMBER = r"[ \t]*(?:[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~])?[ \t]*"
_is_tracestate = re.compile(rf"{_MEMBER}(?:,{_MEMBER}){{0,31}}").fullmatch
_is_json = re.compile(r"application/json[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL).fullmatch


class AmqpProperties(Protocol):
    """The AMQP properties of a message as they came off the wire; each is None where it is absent.

    `pika.BasicProperties` satisfies this protocol as it is. The values are unchecked: a property that should be text
    is bytes where it is no UTF-8.
    """

    @property
    def message_id(self) -> object: ...
    @property
    def type(self) -> object: ...
    @property
    def content_type(self) -> object: ...
    @property
    def correlation_id(self) -> object: ...
    @property
    def headers(self) -> Mapping[str, Any] | None: ...
    @property
    def timestamp(self) -> object: ...
    @property
    def content_encoding(self) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandProperties:
    """The checked properties of a command.

    Attributes:
        message_id: The idempotency key.
        type: The command's type; whether it is a known one is for `read_command` to say.
        correlation_id: The one that was sent, else the message_id.
        traceparent: The W3C trace context to carry through; None if there is none, or a broken one.
        tracestate: What tracers add to it; None if there is none, a broken one, or no traceparent.
    """

    message_id: str
    type: str
    correlation_id: str
    traceparent: str | None
    tracestate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventProperties:
    """The checked properties of an event.

    Attributes:
        message_id: The event's own, the same however often it is published.
        type: The event's type; whether it is a known one is for `read_event` to say.
        correlation_id: The command's, else the command's message_id.
        causation_id: The message_id of the command that caused the event.
        traceparent: The W3C trace context that came with the command; None if there is none, or a broken one.
        timestamp: When it was decided, in seconds since the epoch, if that is told.
        tracestate: What tracers have added to the trace context; None if there is none, or a broken one.
    """

    message_id: str
    type: str
    correlation_id: str
    causation_id: str
    traceparent: str | None
    timestamp: int | None = None
    tracestate: str | None = None

    @property
    def trace_context(self) -> dict[str, str]:
        """The trace context as headers, as OpenTelemetry's `propagate.extract` takes it; empty if there is none."""
        return _trace_headers(self.traceparent, self.tracestate) or {}


def read_command_properties(properties: AmqpProperties) -> CommandProperties:
    """Check the properties of a command. An empty property counts as absent.

    Args:
        properties: As they came off the wire, such as pika's `BasicProperties`.

    Raises:
        ContractError: `missing-message-id`, `invalid-message-id`, `missing-type`, `unsupported-content-type`, or
            `invalid-header` for the correlation_id.
    """
    message_id, type_, correlation_id, traceparent, tracestate = _read_common(properties, COMMANDS)
    return CommandProperties(
        message_id=message_id,
        type=type_,
        correlation_id=correlation_id,
        traceparent=traceparent,
        tracestate=tracestate,
    )


def read_event_properties(properties: AmqpProperties) -> EventProperties:
    """Check the properties of an event. An empty property counts as absent.

    Args:
        properties: As they came off the wire, such as pika's `BasicProperties`.

    Raises:
        ContractError: As `read_command_properties`; `invalid-header` also for a missing causation_id.
    """
    message_id, type_, correlation_id, traceparent, tracestate = _read_common(properties, EVENTS)
    causation_id = (properties.headers or {}).get(CAUSATION_ID_HEADER)
    if not (isinstance(causation_id, str) and _is_id(causation_id)):
        raise _violation(f"The header {CAUSATION_ID_HEADER}", _ID_WORDS, causation_id)
    timestamp = properties.timestamp
    return EventProperties(
        message_id=message_id,
        type=type_,
        correlation_id=correlation_id,
        causation_id=causation_id,
        traceparent=traceparent,
        timestamp=timestamp if isinstance(timestamp, int) else None,
        tracestate=tracestate,
    )


def read_trace_context(headers: Mapping[str, Any] | None) -> tuple[str | None, str | None]:
    """Return the traceparent and the tracestate among the headers of a message; None for what is missing or broken.

    What only observes a message must not stop it, so W3C says to go on as if it were absent.
    """
    if not headers or TRACEPARENT_HEADER not in headers:
        return None, None
    traceparent, tracestate = headers[TRACEPARENT_HEADER], headers.get(TRACESTATE_HEADER)
    if not (isinstance(traceparent, str) and len(traceparent) <= MAX_ID_CHARACTERS and _is_traceparent(traceparent)):
        return None, None
    usable = (
        isinstance(tracestate, str) and 0 < len(tracestate) <= MAX_TRACESTATE_CHARACTERS and _is_tracestate(tracestate)
    )
    return traceparent, tracestate if usable else None


def command_properties(
    command: Command,
    *,
    message_id: str,
    correlation_id: str | None = None,
    traceparent: str | None = None,
    app_id: str | None = None,
    timestamp: int | None = None,
    tracestate: str | None = None,
) -> dict[str, Any]:
    """Build the properties to publish a command with, to its ROUTING_KEY on COMMANDS_EXCHANGE.

    Args:
        command: The command that will be the body.
        message_id: The idempotency key: the same for every publication of the same request, 255 UTF-8 bytes at most.
        correlation_id: Ties together the messages of one business process.
        traceparent: The W3C trace context; a broken one is left out.
        app_id: The publishing program.
        timestamp: Seconds since the epoch.
        tracestate: What tracers add to the trace context; a broken one is left out.

    Returns:
        Arguments for `pika.BasicProperties(**...)`.

    Raises:
        ContractError: The worker would refuse these properties, or AMQP could not carry them.
    """
    _check_sendable(message_id, correlation_id)
    return {
        "content_type": CONTENT_TYPE,
        "type": command.TYPE,
        "message_id": message_id,
        "correlation_id": correlation_id or None,
        "headers": _trace_headers(
            *read_trace_context({TRACEPARENT_HEADER: traceparent, TRACESTATE_HEADER: tracestate})
        ),
        "app_id": app_id,
        "timestamp": timestamp,
        "delivery_mode": _PERSISTENT,
    }


_ID_WORDS = f"text of 1 to {MAX_ID_CHARACTERS} printable characters (bytes, in UTF-8) without blanks at the ends"


def _read_common(properties: AmqpProperties, types: Collection[str]) -> tuple[str, str, str, str | None, str | None]:
    """Check what commands and events share.

    Args:
        properties: As they came off the wire.
        types: Those that the message may have.

    Returns:
        message_id, type, correlation_id, traceparent and tracestate.
    """
    message_id = _checked_message_id(properties.message_id)
    type_ = properties.type
    if not (isinstance(type_, str) and type_):
        raise missing_type(types)
    content_type = properties.content_type
    if content_type and content_type != CONTENT_TYPE:
        _check_content_type(content_type)
    correlation_id = _checked_correlation_id(properties.correlation_id) or message_id
    return message_id, type_, correlation_id, *read_trace_context(properties.headers)


def _check_sendable(message_id: str, correlation_id: str | None) -> None:
    _checked_message_id(message_id)
    _checked_correlation_id(correlation_id)
    # An AMQP short string is limited in bytes; what came off the wire has kept to that.
    if len(message_id.encode()) > MAX_ID_CHARACTERS:
        raise _bad_message_id(message_id)
    if correlation_id is not None and len(correlation_id.encode()) > MAX_ID_CHARACTERS:
        raise _violation("The property correlation_id", _ID_WORDS, correlation_id)


def _checked_message_id(value: object) -> str:
    if isinstance(value, str) and _is_id(value):
        return value
    raise _bad_message_id(value)


def _checked_correlation_id(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and _is_id(value):
        return value
    raise _violation("The property correlation_id", _ID_WORDS, value)


def _is_id(value: str) -> bool:
    # The space is the only blank that is printable.
    return 0 < len(value) <= MAX_ID_CHARACTERS and value.isprintable() and value[0] != " " != value[-1]


def _bad_message_id(value: object) -> ContractError:
    if value is None or value == "":
        return ContractError(
            "missing-message-id", "The property message_id is missing; send one that identifies the request."
        )
    return _violation("The property message_id", _ID_WORDS, value, reason="invalid-message-id")


def _check_content_type(value: object) -> None:
    if not (isinstance(value, str) and _is_json(value)):
        raise _violation(
            "The property content_type", f"{CONTENT_TYPE} or absent", value, reason="unsupported-content-type"
        )


def _trace_headers(traceparent: str | None, tracestate: str | None) -> dict[str, str] | None:
    if traceparent is None:
        return None
    return {TRACEPARENT_HEADER: traceparent} | ({} if tracestate is None else {TRACESTATE_HEADER: tracestate})


def _violation(name: str, words: str, value: object, *, reason: str = "invalid-header") -> ContractError:
    return ContractError(reason, f"{name} must be {words}, got {show(value)}.")
