"""Fills, counts and empties queues."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

import pika

from allocation_contracts import CAUSATION_ID_HEADER, COMMANDS_EXCHANGE, EVENTS_EXCHANGE
from allocation_worker.adapters.rabbitmq.publisher import Publication
from allocation_worker.adapters.rabbitmq.until_confirmed import BlockingPublisher, publish_until_confirmed
from bench.workloads import EncodedCommand

SUBSCRIBER = "bench.subscriber"
_WINDOW = 4000
_QUORUM = {"x-queue-type": "quorum"}


def fill(
    url: str, messages: Iterable[EncodedCommand], count: int, told: Callable[[int], None] = lambda _: None
) -> None:
    """Publish so many commands; all are confirmed when this returns. `told` hears how many are."""
    numbered = enumerate(islice(messages, count))
    with BlockingPublisher[tuple[int, EncodedCommand]]([url], _publication, name="bench") as publisher:
        results = publish_until_confirmed(publisher, numbered, key=itemgetter(0), window=_WINDOW)
        for confirmed, (_, safe) in enumerate(results, 1):
            if not safe:
                raise RuntimeError("No queue takes a command.")
            told(confirmed)


def _publication(numbered: tuple[int, EncodedCommand]) -> Publication:
    number, message = numbered
    return Publication(number, COMMANDS_EXCHANGE, message.routing_key, message.body, message.properties)


class Watch:
    """Counts what waits in queues, on one connection; cheap enough to ask fifty times a second."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def declare_events_exchange(self) -> None:
        """Declare the exchange of events, for programs that are not the worker."""
        self._channel.exchange_declare(EVENTS_EXCHANGE, "topic", durable=True)

    def subscribe(self) -> None:
        """Bind a durable quorum queue to every event; nobody takes from it during a run."""
        self._channel.queue_declare(SUBSCRIBER, durable=True, arguments=_QUORUM)
        self._channel.queue_bind(SUBSCRIBER, EVENTS_EXCHANGE, "#")

    def depth(self, queue: str) -> int:
        """How many messages wait."""
        return self._channel.queue_declare(queue, passive=True).method.message_count

    def send(self, messages: Sequence[EncodedCommand]) -> None:
        """Publish a few commands on the same connection."""
        for message in messages:
            self._channel.basic_publish(COMMANDS_EXCHANGE, message.routing_key, message.body, message.properties)

    def take_events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Empty the subscriber's queue: each event's causation_id and body, in their order."""
        for properties, body in self.take():
            yield str((properties.headers or {})[CAUSATION_ID_HEADER]), body

    def take(self) -> Iterator[tuple[pika.BasicProperties, dict[str, Any]]]:
        """Empty the subscriber's queue: each event's properties and body, in their order."""
        for method, properties, body in self._channel.consume(SUBSCRIBER, auto_ack=True, inactivity_timeout=1):
            if method is None or properties is None or body is None:
                break
            yield properties, json.loads(body)
        self._channel.cancel()
