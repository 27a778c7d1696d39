"""What a run is checked by: the commands that were sent, and the events that came."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pika.spec import BasicProperties

import allocation_contracts as contracts


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCommand:
    """A command that the broker has confirmed."""

    message_id: str
    type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event as a subscriber received it."""

    type: str
    message_id: str
    correlation_id: str
    causation_id: str
    routing_key: str
    body: bytes
    data: Mapping[str, Any] = field(compare=False)
    properties: BasicProperties = field(compare=False)

    @classmethod
    def of(cls, properties: BasicProperties, body: bytes, *, routing_key: str) -> Self:
        """Return the event that was delivered with these properties; a property that is absent is empty."""
        return cls(
            type=properties.type or "",
            message_id=properties.message_id or "",
            correlation_id=properties.correlation_id or "",
            causation_id=str((properties.headers or {}).get(contracts.CAUSATION_ID_HEADER, "")),
            routing_key=routing_key,
            body=body,
            data=json.loads(body),
            properties=properties,
        )
