"""One message, as the broker delivered it."""

from collections.abc import Mapping
from typing import Any

from pika.spec import BasicProperties


class Delivery:
    """A message in hand: the broker keeps it for us until it is settled, or the channel is gone.

    Attributes:
        tag: The broker's number for it, on its channel.
        queue: Where it was taken from.
        generation: Which of the queue's channels, one after the other, brought it.
        body: As it was sent.
        redelivered: It was in someone's hands before: it may be what brought them down.
        routing_key: As it was published with.
        exchange: As it was published to.
        properties: pika's, for the copies that may be made of it.
    """

    __slots__ = ("body", "exchange", "generation", "properties", "queue", "redelivered", "routing_key", "tag")

    def __init__(
        self,
        *,
        tag: int,
        queue: str,
        generation: int,
        body: bytes,
        redelivered: bool,
        routing_key: str,
        exchange: str,
        properties: BasicProperties,
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.generation = generation
        self.body = body
        self.redelivered = redelivered
        self.routing_key = routing_key
        self.exchange = exchange
        self.properties = properties

    def __repr__(self) -> str:
        return f"<Delivery {self.generation}/{self.tag} of {self.queue}: {self.message_id!r}>"

    @property
    def message_id(self) -> object:
        """Text; bytes if they are no UTF-8; None if absent."""
        return self.properties.message_id

    @property
    def type(self) -> object:
        """As `message_id`."""
        return self.properties.type

    @property
    def content_type(self) -> object:
        """As `message_id`."""
        return self.properties.content_type

    @property
    def correlation_id(self) -> object:
        """As `message_id`."""
        return self.properties.correlation_id

    @property
    def headers(self) -> Mapping[str, Any] | None:
        """The header table, or None."""
        return self.properties.headers


def delivery_failures(properties: BasicProperties) -> int:
    """How many deliveries of this message the broker counts as failed; 0 where it does not say."""
    count = (properties.headers or {}).get("x-delivery-count", 0)
    return count if isinstance(count, int) else 0
