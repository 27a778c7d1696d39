"""An event on its way out, and what became of it."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from allocation_contracts.results import PublishResult


class OutgoingEvent(NamedTuple):
    """An event as it will stand on the wire. A tuple, since it is made, and read, for every event.

    Attributes:
        id: Grows within a product's events; comes back in its `MessageResult`.
        page: The page of the outbox that waits for it to be published; None for an event that is published by itself.
        routing_key: On the exchange `allocation.events`.
        body: JSON.
        message_id: The same on every publication.
        type: Such as `allocated.v1`.
        correlation_id: The conversation.
        causation_id: The message_id of the command.
        traceparent: The command's, if it had one; with tracing, that of the span in which it was decided.
        timestamp: Seconds since the epoch.
        tracestate: What belongs to the traceparent.
    """

    id: int
    page: int | None
    routing_key: str
    body: bytes
    message_id: str
    type: str
    correlation_id: str
    causation_id: str
    traceparent: str | None
    timestamp: int
    tracestate: str | None = None

    @property
    def product(self) -> str | None:
        """The SKU in whose order it stands; None if it has no place in any. It is read from the body."""
        fields = json.loads(self.body)
        return str(fields["sku"]) if "sequence" in fields else None


class Page(NamedTuple):
    """Events that wait to be published, in order. They are marked together.

    Attributes:
        id: The page's own.
        events: At least one; their ids grow, too. None in a page that is to be read later.
        product: The SKU of all its events, if the events of other products may pass it.
    """

    id: int
    events: Sequence[OutgoingEvent]
    product: str | None = None


class MessageResult(NamedTuple):
    """The result of publishing the message with this id."""

    id: int
    result: PublishResult
