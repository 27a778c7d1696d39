"""A command as it came in, with what travels beside it."""

from typing import Any, NamedTuple

from allocation_worker.domain.commands import Command


class CommandMessage(NamedTuple):
    """A command, with what travels beside it. A tuple, because one is built for every message.

    Attributes:
        command: What is asked.
        type: The command's type on the wire, such as `allocate.v1`.
        message_id: The idempotency key, 1 to 255 printable characters.
        correlation_id: The one that was sent, else the message_id.
        traceparent: The trace context, passed on to the events.
        fingerprint: The sha256 of type and body, 32 bytes. It tells a repeat from another message with the same id.
        data: The body as it was sent. A rejection returns it to the sender.
        attempts: How many times processing has failed before.
        tracestate: What belongs to the traceparent, passed on with it.
    """

    command: Command
    type: str
    message_id: str
    correlation_id: str
    traceparent: str | None
    fingerprint: bytes
    data: dict[str, Any]
    attempts: int = 0
    tracestate: str | None = None
