"""The shared suite of all consumers: the worker's, and the contracts' `Subscriber`."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pika
import pytest

from allocation_contracts import EVENTS_EXCHANGE, Allocated, CommandRejected, Event, encode
from allocation_contracts.amqp import Subscriber
from allocation_contracts.amqp.link import Link, LinkFactory, NetworkLink
from allocation_contracts.names import DEAD_LETTERS, STOCK_QUEUE
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.adapters.rabbitmq.link import worker_link
from allocation_worker.service_layer.outcomes import Done, Outcome
from tests.integration.rabbitmq.rig import Place, Workers, eventually
from tests.raw_headers import UNDECODABLE, RawHeader, allow

NOBODY = "amqp://guest:guest@127.0.0.1:1/"


class HandlerFailedError(Exception):
    """Raised by a handler."""


class CountingLink:
    """Makes links, and counts the connections that they open."""

    def __init__(self, make: LinkFactory) -> None:
        self._make = make
        self.connections = 0

    def __call__(self, *arguments: Any, on_connected: Callable[[Any], None], **options: Any) -> NetworkLink:
        def connected(connection: Any) -> None:
            self.connections += 1
            on_connected(connection)

        return self._make(*arguments, on_connected=connected, **options)


class ConsumerUnderTest(Protocol):
    """A consumer in a thread of its own.

    Attributes:
        queue: The queue that it consumes.
        refused: The queue where messages go that break the contract.
        handled: The numbers of the messages that it has handled.
        on_message: Called with each number before it counts as handled.
        link: Counts its connections.
        error: What ended it, if that was an error.
    """

    queue: str
    refused: str
    handled: list[int]
    on_message: Callable[[int], None]
    link: CountingLink

    @property
    def error(self) -> BaseException | None: ...
    @property
    def ended(self) -> bool: ...
    def start(self, *urls: str) -> None: ...
    def stop(self) -> None: ...
    def publish(self, *numbers: int) -> None: ...
    def publish_undecodable(self, value: RawHeader) -> None: ...
    def declare_queue(self) -> None: ...


def has_consumer(place: Place, queue: str) -> bool:
    channel = place.new_channel()
    try:
        return bool(channel.queue_declare(queue, passive=True).method.consumer_count)
    except pika.exceptions.ChannelClosedByBroker:
        return False


def ignore(_number: int) -> None:
    pass


class WorkersConsumer:
    """The worker's consumer of the stock queue, where order matters."""

    queue = STOCK_QUEUE
    refused = DEAD_LETTERS

    def __init__(self, place: Place) -> None:
        self._place = place
        self._workers: Workers | None = None
        self.handled: list[int] = []
        self.on_message: Callable[[int], None] = ignore
        self.link = CountingLink(worker_link)

    @property
    def error(self) -> BaseException | None:
        return None if self._workers is None else self._workers.error

    @property
    def ended(self) -> bool:
        return self._workers is not None and self._workers.ended

    def start(self, *urls: str) -> None:
        self._workers = Workers([*urls, self._place.url], [STOCK_QUEUE], self._handle, link=self.link)
        self._workers.start()
        eventually(lambda: self._workers and self._workers.consuming)

    def stop(self) -> None:
        if self._workers is not None:
            self._workers.stop()

    def publish(self, *numbers: int) -> None:
        self._place.send(*map(str, numbers), key="create-batch")

    def publish_undecodable(self, value: RawHeader) -> None:
        self._place.send("undecodable", key="create-batch", headers={"h": value})

    def declare_queue(self) -> None:
        topology.declare([self._place.url], retry_delays=[1])

    def _handle(self, delivery: Delivery) -> Outcome:
        number = int(str(delivery.properties.message_id))
        self.on_message(number)
        self.handled.append(number)
        return Done()


class SubscribersConsumer:
    """The contracts' Subscriber."""

    queue = "subscriber"
    refused = "subscriber.parked"

    def __init__(self, place: Place) -> None:
        self._place = place
        self.handled: list[int] = []
        self.on_message: Callable[[int], None] = ignore
        self.link = CountingLink(Link)
        self.error: BaseException | None = None
        self._subscriber: Subscriber | None = None
        self._thread: threading.Thread | None = None

    @property
    def ended(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def start(self, *urls: str) -> None:
        self._subscriber = Subscriber([*urls, self._place.url], self.queue, link=self.link)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        eventually(lambda: has_consumer(self._place, self.queue))

    def stop(self) -> None:
        if self._subscriber is not None and self._thread is not None:
            self._subscriber.stop()
            self._thread.join(20)
            assert self.ended

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            event = Allocated(orderid="o", sku="S", lineid="", qty=1, batchref="b", eta=None, sequence=number)
            self._publish(event, {"causation_id": "c"})

    def publish_undecodable(self, value: RawHeader) -> None:
        event = CommandRejected(command="allocate.v1", reason="unknown-sku", detail="No.", data={})
        self._publish(event, {"causation_id": "c", "h": value})

    def declare_queue(self) -> None:
        """It declares its queue itself."""

    def _publish(self, event: Event, headers: dict[str, Any]) -> None:
        properties = pika.BasicProperties(message_id="m", type=event.TYPE, headers=headers, delivery_mode=2)
        self._place.channel.basic_publish(EVENTS_EXCHANGE, event.ROUTING_KEY, encode(event), properties)

    def _run(self) -> None:
        assert self._subscriber is not None
        try:
            self._subscriber.run(self._handle)
        except Exception as error:  # noqa: BLE001 - for the test to look at
            self.error = error

    def _handle(self, event: Event, _properties: object) -> None:
        assert isinstance(event, Allocated)
        self.on_message(event.sequence)
        self.handled.append(event.sequence)


@pytest.fixture(params=[WorkersConsumer, SubscribersConsumer], ids=["worker", "subscriber"])
def consumer(request: pytest.FixtureRequest, place: Place) -> Iterator[ConsumerUnderTest]:
    consumer: ConsumerUnderTest = request.param(place)
    yield consumer
    consumer.stop()


def firsts(numbers: list[int]) -> list[int]:
    """Each number once, in the order in which it first came."""
    return list(dict.fromkeys(numbers))


def test_messages_are_handled_in_their_order_and_acked(consumer: ConsumerUnderTest, place: Place) -> None:
    consumer.start()
    consumer.publish(*range(1, 301))
    eventually(lambda: len(consumer.handled) == 300)
    consumer.stop()
    assert consumer.handled == list(range(1, 301))
    eventually(lambda: place.depth(consumer.queue) == 0)


def test_a_message_whose_handling_fails_is_not_acked(consumer: ConsumerUnderTest, place: Place) -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise HandlerFailedError

    consumer.on_message = fail
    consumer.start()
    consumer.publish(1, 2, 3, 4)
    eventually(lambda: consumer.ended)
    assert isinstance(consumer.error, HandlerFailedError)
    eventually(lambda: place.depth(consumer.queue) >= 2)
    consumer.on_message = ignore
    consumer.start()
    eventually(lambda: set(consumer.handled) == {1, 2, 3, 4})
    eventually(lambda: place.depth(consumer.queue) == 0)


def test_after_a_lost_connection_nothing_is_lost_or_overtaken(
    consumer: ConsumerUnderTest, close_connections: Callable[[], None]
) -> None:
    consumer.start()
    consumer.publish(*range(1, 301))
    eventually(lambda: len(consumer.handled) > 10)
    close_connections()
    consumer.publish(*range(301, 601))
    eventually(lambda: len(set(consumer.handled)) == 600)
    assert firsts(consumer.handled) == list(range(1, 601))
    assert consumer.link.connections == 2


def test_a_broker_that_does_not_answer_is_passed_over_for_the_next(
    consumer: ConsumerUnderTest, close_connections: Callable[[], None]
) -> None:
    consumer.start(NOBODY, NOBODY)
    consumer.publish(1)
    eventually(lambda: consumer.handled == [1])
    close_connections()
    consumer.publish(2)
    eventually(lambda: firsts(consumer.handled) == [1, 2])


def test_when_its_queue_is_deleted_and_declared_again_it_goes_on(consumer: ConsumerUnderTest, place: Place) -> None:
    consumer.start()
    consumer.publish(1)
    eventually(lambda: consumer.handled == [1])
    before = consumer.link.connections
    place.channel.queue_delete(consumer.queue)
    eventually(lambda: consumer.link.connections > before)
    consumer.declare_queue()
    eventually(lambda: has_consumer(place, consumer.queue))
    consumer.publish(2)
    eventually(lambda: consumer.handled == [1, 2])


@pytest.mark.parametrize("value", UNDECODABLE.values(), ids=UNDECODABLE)
def test_headers_that_cannot_be_decoded_are_refused_and_harm_no_neighbour(
    consumer: ConsumerUnderTest, place: Place, value: RawHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch)
    consumer.start()
    for first in range(1, 61, 3):
        consumer.publish(first, first + 1, first + 2)
        consumer.publish_undecodable(value)
    eventually(lambda: len(consumer.handled) == 60, within=10)
    eventually(lambda: place.depth(consumer.refused) == 20, within=10)
    consumer.stop()
    assert consumer.handled == list(range(1, 61))
    assert consumer.link.connections == 1
    assert place.depth(consumer.queue) == 0


def test_stopping_ends_the_message_in_work_and_returns_the_others(consumer: ConsumerUnderTest, place: Place) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def wait(_number: int) -> None:
        at_work.set()
        assert go_on.wait(20)

    consumer.on_message = wait
    consumer.start()
    consumer.publish(1)
    assert at_work.wait(20)
    consumer.publish(2, 3)
    stopping = threading.Thread(target=consumer.stop)
    stopping.start()
    go_on.set()
    stopping.join(20)
    assert consumer.ended
    eventually(lambda: place.depth(consumer.queue) == 3 - len(consumer.handled))
    assert consumer.error is None
