"""One message, as the broker delivered it."""

from pika.spec import BasicProperties

from allocation_contracts.names import RETRYING_EXCHANGE
from allocation_worker.adapters.rabbitmq.retry_queues import is_retry_queue

ATTEMPTS_HEADER = "x-attempts"
"""Our retry copies and dead letters say in it how many attempts have failed."""

_MAX_ATTEMPTS = 1_000


class Delivery:
    """A message in hand: the broker keeps it for us until it is settled, or the channel is gone.

    Attributes:
        tag: The broker's number for it, on its channel.
        queue: Where it was taken from.
        generation: Which of the queue's channels, one after the other, brought it.
        body: As it was sent.
        failures: How many deliveries of it have failed before: it may be what brought a process down.
        routing_key: As it was published with.
        exchange: As it was published to.
        properties: As they came; the copies that may be made of it need all of them.
        retried: It came by one of the queue's retry queues, so it is a copy of ours, and so are its headers.
        attempts: How many times processing has failed before.
    """

    __slots__ = (
        "attempts", "body", "exchange", "failures", "generation", "properties", "queue", "retried", "routing_key",
        "tag",
    )  # fmt: skip

    def __init__(
        self,
        *,
        tag: int,
        queue: str,
        generation: int,
        body: bytes,
        failures: int,
        routing_key: str,
        exchange: str,
        properties: BasicProperties,
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.generation = generation
        self.body = body
        self.failures = failures
        self.routing_key = routing_key
        self.exchange = exchange
        self.properties = properties
        # "": from a retry queue of version 0.1.0.
        by_us = exchange in {RETRYING_EXCHANGE, ""} and routing_key == queue
        self.retried = by_us and _died_in_a_retry_queue(properties, queue)
        self.attempts = failed_attempts(properties) if self.retried else 0

    def __repr__(self) -> str:
        return f"<Delivery {self.generation}/{self.tag} of {self.queue}: {self.properties.message_id!r}>"


def delivery_failures(properties: BasicProperties, *, redelivered: bool) -> int:
    """Return how many deliveries of this message have failed, as the broker counts them; 0 if it is delivered first.

    Args:
        properties: Its properties.
        redelivered: Whether the broker says that it may have been delivered before.
    """
    if not redelivered:
        return 0
    count = (properties.headers or {}).get("x-delivery-count", 0)
    return max(1, count) if isinstance(count, int) else 1


def failed_attempts(properties: BasicProperties) -> int:
    """Return how many attempts have failed, as a retry copy of ours says; 0 if it says nothing of use."""
    headers = properties.headers
    count = headers.get(ATTEMPTS_HEADER, 0) if headers else 0
    if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _MAX_ATTEMPTS:
        return count
    return 0


def _died_in_a_retry_queue(properties: BasicProperties, queue: str) -> bool:
    # A program that may publish commands can set this header, but not publish to those exchanges.
    died_in = (properties.headers or {}).get("x-first-death-queue")
    return isinstance(died_in, str) and is_retry_queue(died_in, queue)
