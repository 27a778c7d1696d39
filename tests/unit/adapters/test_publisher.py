"""What becomes of events that were handed over while the connection came and went: no later one goes before them."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from pika.exceptions import StreamLostError
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from allocation_contracts import ORDERS_QUEUE
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.dead_letter import DeadLetter
from allocation_worker.adapters.rabbitmq.dead_letter_publisher import DeadLetterPublisher
from allocation_worker.adapters.rabbitmq.publisher import ConfirmedPublisher, EventPublisher
from allocation_worker.service_layer.outgoing import MessageResult
from tests.fakes.relay import outgoing


class Network:
    """The link, its connection and its channel in one: what is published on it is written down.

    The test runs the network thread's part by hand.
    """

    is_open = True

    trouble = ""

    def __init__(
        self,
        urls: object,
        *,
        name: str,
        on_connected: Callable[[Any], None],
        on_lost: Callable[[], None],
        blocked_timeout: float | None = None,
    ) -> None:
        del urls, name, blocked_timeout
        self.published: list[str] = []
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._calls: deque[Callable[[], None]] = deque()
        self._closed: list[Callable[[Any, Exception], None]] = []
        self._confirmed: Callable[[Any], None] | None = None

    def start(self) -> None: ...
    def join(self, timeout: float) -> None: ...

    def connect(self) -> None:
        self._on_connected(self)

    def lose(self) -> None:
        closed, self._closed = self._closed, []
        for callback in closed:
            callback(self, StreamLostError("gone"))
        self._on_lost()

    def run(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def call_soon(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def channel(self, *, on_open_callback: Callable[[Any], None]) -> None:
        on_open_callback(self)

    def add_on_close_callback(self, callback: Callable[[Any, Exception], None]) -> None:
        self._closed.append(callback)

    def add_on_return_callback(self, callback: object) -> None: ...

    def confirm_delivery(self, callback: Callable[[Any], None]) -> None:
        self._confirmed = callback

    def confirm(self, tag: int) -> None:
        assert self._confirmed is not None
        self._confirmed(Method(1, Basic.Ack(tag)))

    def basic_publish(self, _exchange: str, _key: str, _body: bytes, properties: Any, *, mandatory: bool) -> None:
        assert mandatory
        self.published.append(properties.message_id)

    def mark_healthy(self) -> None: ...
    def reconnect(self) -> None: ...
    def call_later(self, delay: float, function: Callable[[], None]) -> None: ...
    def stop(self) -> None: ...


@pytest.fixture
def publisher() -> EventPublisher:
    return EventPublisher([], wake=lambda: None, link=Network)


@pytest.fixture
def network(publisher: EventPublisher) -> Network:
    return connected(publisher)


def connected(publisher: ConfirmedPublisher[Any]) -> Network:
    network = publisher._link
    assert isinstance(network, Network)
    network.connect()
    return network


def lost(*ids: int) -> list[MessageResult]:
    return [MessageResult(id_, PublishResult.LOST) for id_ in ids]


def test_what_is_published_after_a_loss_was_told_of_goes_out(publisher: EventPublisher, network: Network) -> None:
    publisher.publish([outgoing(1)])
    network.run()
    network.lose()
    network.connect()
    assert publisher.take_results() == lost(1)
    publisher.publish([outgoing(1), outgoing(2)])
    network.run()
    assert network.published == ["event-1", "event-1", "event-2"]


def test_what_is_published_before_a_loss_was_told_of_is_lost_too(publisher: EventPublisher, network: Network) -> None:
    publisher.publish([outgoing(1)])
    network.run()
    network.lose()
    network.connect()
    publisher.publish([outgoing(2)])
    network.run()
    assert publisher.take_results() == lost(1, 2)
    assert network.published == ["event-1"]


def test_nothing_goes_before_what_was_refused_for_a_loss_that_has_been_told_of_meanwhile(
    publisher: EventPublisher, network: Network
) -> None:
    """Of 1 it is told before 2 is refused, so whoever publishes 3 does not know of 2."""
    publisher.publish([outgoing(1)])
    network.run()
    network.lose()
    network.connect()
    publisher.publish([outgoing(2)])
    assert publisher.take_results() == lost(1)
    network.run()
    publisher.publish([outgoing(3)])
    network.run()
    assert network.published == ["event-1"]
    assert publisher.take_results() == lost(2, 3)
    publisher.publish([outgoing(1), outgoing(2), outgoing(3)])
    network.run()
    assert network.published == ["event-1", "event-1", "event-2", "event-3"]


def letter(tag: int) -> DeadLetter:
    properties = BasicProperties(message_id=f"letter-{tag}", headers={"x-original-queue": ORDERS_QUEUE})
    return DeadLetter(tag=tag, routing_key="allocate", properties=properties, body=b"{}")


class WaitingIsWhen:
    """While the publisher of dead letters waits, this happens."""

    def __init__(self, *events: Callable[[], None]) -> None:
        self._events = deque(events)

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def notify(self) -> None: ...

    def wait(self, _seconds: float) -> None:
        self._events.popleft()()


def test_a_dead_letter_that_was_lost_is_published_again_though_others_were_confirmed_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, third = map(letter, (1, 2, 3))
    copies = DeadLetterPublisher([], link=Network)
    network = connected(copies._publisher)
    copies.publish(first)
    copies.publish(second)
    network.run()
    network.confirm(1)
    network.lose()
    network.connect()
    assert copies.take_settled() == [(first, True)]
    copies.publish(third)

    def confirm_the_second() -> None:
        network.run()
        network.confirm(1)

    monkeypatch.setattr(copies, "_changed", WaitingIsWhen(confirm_the_second))
    assert copies.take_settled() == [(second, True)]
    assert network.published == ["letter-1", "letter-2", "letter-2", "letter-3"]


def test_dead_letters_that_came_before_the_connection_go_out_in_their_order_whenever_it_was_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 1 and 2 it is told before 3 and 4 are refused."""
    copies = DeadLetterPublisher([], link=Network)
    network = copies._publisher._link
    assert isinstance(network, Network)

    def confirm_the_first() -> None:
        network.run()
        network.confirm(1)

    monkeypatch.setattr(copies, "_changed", WaitingIsWhen(network.connect, network.run, confirm_the_first))
    letters = [letter(tag) for tag in (1, 2, 3, 4)]
    for each in letters[:2]:
        copies.publish(each)
    network.run()
    for each in letters[2:]:
        copies.publish(each)
    assert copies.take_settled() == [(letters[0], True)]
    assert network.published == ["letter-1", "letter-2", "letter-3", "letter-4"]
