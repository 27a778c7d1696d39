"""An event on its way out, and what became of it."""

from enum import Enum
from typing import NamedTuple


class OutgoingEvent(NamedTuple):
    """An event as it will stand on the wire. A tuple, since it is made, and read, for every event.

    Attributes:
        id: its row in the outbox; comes back in its `Settlement`.
        routing_key: on the exchange `allocation.events`.
        body: JSON.
        message_id: the same on every publication.
        type: such as `allocated.v1`.
        correlation_id: the conversation.
        causation_id: the message_id of the command.
        traceparent: the command's, if it had one.
        timestamp: seconds since the epoch.
    """

    id: int
    routing_key: str
    body: bytes
    message_id: str
    type: str
    correlation_id: str
    causation_id: str
    traceparent: str | None
    timestamp: int


class SettlementKind(Enum):
    """What became of a published message."""

    CONFIRMED = "every queue that it goes to has it"
    RETURNED = "it goes to no queue"
    NACKED = "the broker refused it, or it cannot be put into AMQP"
    LOST = "the channel went away before the answer: it may have arrived"


class Settlement(NamedTuple):
    """What became of the message with this id."""

    id: int
    kind: SettlementKind
