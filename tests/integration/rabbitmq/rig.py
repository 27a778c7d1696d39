"""Helpers for the tests of the RabbitMQ adapter: a virtual host, and controllable worker threads."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from allocation_contracts.names import COMMANDS_EXCHANGE, DEAD_LETTERS, ORDERS_QUEUE
from allocation_worker.adapters.rabbitmq.consumer import Consumer
from allocation_worker.adapters.rabbitmq.deliveries import DeliveryBuffer
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.service_layer.outcomes import Done, Outcome

Message = tuple[pika.BasicProperties, bytes]

_tick = threading.Event()


def eventually(condition: Callable[[], object], *, within: float = 60.0) -> None:
    """Return as soon as the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {condition}"
        _tick.wait(0.02)


def headers_of(properties: pika.BasicProperties) -> dict[str, Any]:
    """The headers, without the one that 3.10 adds to whatever a quorum queue delivers."""
    return {name: value for name, value in (properties.headers or {}).items() if name != "x-delivery-count"}


class Place:
    """A virtual host with the topology in it, seen from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.reconnect()

    def reconnect(self) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(self.url))
        self.channel = self.new_channel()

    def new_channel(self) -> BlockingChannel:
        channel = self._connection.channel()
        channel.confirm_delivery()
        return channel

    def close(self) -> None:
        if self._connection.is_open:  # not where a test failed in between
            self._connection.close()

    def send(self, *ids: str, key: str = "allocate", headers: dict[str, Any] | None = None, **properties: Any) -> None:
        """Publish commands with these ids, each its own body."""
        for id_ in ids:
            self.channel.basic_publish(
                COMMANDS_EXCHANGE,
                key,
                f"body of {id_}".encode(),
                pika.BasicProperties(message_id=id_, delivery_mode=2, headers=headers, **properties),
            )

    def depth(self, queue: str) -> int:
        """How many messages wait."""
        count: int = self.channel.queue_declare(queue, passive=True).method.message_count
        return count

    def take_all(self, queue: str) -> list[Message]:
        """Take what waits in the queue."""
        taken: list[Message] = []
        while True:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None or properties is None or body is None:
                return taken
            taken.append((properties, body))

    def dead_letters(self, count: int = 1) -> list[Message]:
        """Wait until this many are there, and take them."""
        eventually(lambda: self.depth(DEAD_LETTERS) >= count)
        return self.take_all(DEAD_LETTERS)


class Workers:
    """A running consumer with a worker thread for each queue, that acks every delivery as `decide` says."""

    def __init__(
        self, urls: Sequence[str], queues: Sequence[str], decide: Callable[[Delivery], Outcome], **options: Any
    ) -> None:
        self.groups: list[list[Delivery]] = []
        self.limit = 250
        self.error: BaseException | None = None
        defaults: dict[str, Any] = {"prefetch": 500, "grace": 30.0, "unordered": [ORDERS_QUEUE]}
        self.consumer = Consumer(urls, queues, **defaults | options)
        self.buffer = self.consumer.queues[0].buffer
        self._decide = decide
        self._main = threading.Thread(target=self._run)

    def start(self) -> None:
        self._main.start()

    def stop(self) -> None:
        self.consumer.stop()
        self.join()

    def join(self) -> None:
        self._main.join(20)
        assert not self._main.is_alive()

    @property
    def ended(self) -> bool:
        """The consumer's `run` has returned."""
        return not self._main.is_alive()

    @property
    def consuming(self) -> bool:
        """It stands in line at the broker, for its first queue."""
        channel = self.consumer.queues[0]._channel
        return channel is not None and bool(channel.consumer_tags)

    @property
    def deliveries(self) -> list[Delivery]:
        return [delivery for group in list(self.groups) for delivery in group]

    @property
    def ids(self) -> list[object]:
        """The ids of what was taken, in the order of taking."""
        return [delivery.properties.message_id for delivery in self.deliveries]

    def _run(self) -> None:
        try:
            self.consumer.run(self._work)
        except BaseException as error:  # noqa: BLE001 - for the test to look at
            self.error = error

    def _work(self, deliveries: DeliveryBuffer) -> None:
        while group := deliveries.take(self.limit):
            self.groups.append(group)
            deliveries.ack([(delivery, self._decide(delivery)) for delivery in group])


def done(_delivery: Delivery) -> Outcome:
    return Done()


@contextmanager
def working(
    place: Place,
    decide: Callable[[Delivery], Outcome] = done,
    *,
    queues: Sequence[str] = (ORDERS_QUEUE,),
    **options: Any,
) -> Iterator[Workers]:
    """Workers that run until the end of the block, where they must have stopped without an error."""
    with running(Workers([place.url], queues, decide, **options)) as workers:
        yield workers


@contextmanager
def running(workers: Workers) -> Iterator[Workers]:
    """Run workers until the end of the block, where they must stop without an error."""
    workers.start()
    try:
        yield workers
    finally:
        workers.stop()
    assert workers.error is None


def unique(count: int) -> list[str]:
    """Ids."""
    return [f"{number:05}-{uuid.uuid4().hex[:8]}" for number in range(count)]
