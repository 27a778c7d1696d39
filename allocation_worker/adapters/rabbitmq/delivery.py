"""One message, as the broker delivered it."""

from pika.spec import BasicProperties

from allocation_contracts.names import RETRYING_EXCHANGE
from allocation_worker.adapters.rabbitmq.retry_queues import is_retry_queue

ATTEMPTS_HEADER = "x-attempts"
"""The header with the number of failed attempts, in the worker's retry copies and dead letters."""

_MAX_ATTEMPTS = 1_000


class Delivery:
    """A message that is delivered and not yet acknowledged.

    Attributes:
        tag: The delivery tag on its channel.
        queue: The queue that it came from.
        generation: The number of the channel that it came by; each new channel of the queue has the next number.
        body: The body, as it was sent.
        failures: The number of failed deliveries before this one. It may have ended the processes that received it.
        routing_key: The routing key that it was published with.
        exchange: The exchange that it was published to.
        properties: All its properties; a retry copy or a dead letter keeps them.
        retried: Whether it came from one of the queue's retry queues, so that the worker's headers count.
        attempts: The number of failed attempts.
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
    """Return the number of deliveries that the broker counts as failed; 0 if it was never delivered before.

    Args:
        properties: Its properties.
        redelivered: Whether the broker says that it may have been delivered before.
    """
    if not redelivered:
        return 0
    count = (properties.headers or {}).get("x-delivery-count", 0)
    return max(1, count) if isinstance(count, int) else 1


def failed_attempts(properties: BasicProperties) -> int:
    """Return how many attempts have failed, as the header of a retry copy says; 0 without a valid header."""
    headers = properties.headers
    count = headers.get(ATTEMPTS_HEADER, 0) if headers else 0
    if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _MAX_ATTEMPTS:
        return count
    return 0


def _died_in_a_retry_queue(properties: BasicProperties, queue: str) -> bool:
    # A program that may publish commands can set this header, but not publish to those exchanges.
    died_in = (properties.headers or {}).get("x-first-death-queue")
    return isinstance(died_in, str) and is_retry_queue(died_in, queue)
