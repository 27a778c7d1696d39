"""A command as it came in, with what travels beside it."""

from typing import NamedTuple

from allocation_worker.domain.commands import Command


class Message(NamedTuple):
    """One delivery, understood. A tuple, since there is one for every message.

    Attributes:
        command: what is asked.
        type: the wire's name for it, such as `allocate.v1`.
        message_id: the idempotency key, 1-255 printable characters.
        correlation_id: the conversation that it belongs to; its own id where none was given.
        traceparent: carried through to the events, untouched.
        fingerprint: sha256 of type and body, 32 bytes; tells a repeat from another message under the same id.
        body: the bytes as sent.
        attempts: how many times it has failed before.
    """

    command: Command
    type: str
    message_id: str
    correlation_id: str
    traceparent: str | None
    fingerprint: bytes
    body: bytes
    attempts: int = 0
