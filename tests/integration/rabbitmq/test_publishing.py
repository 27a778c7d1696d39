import threading
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from allocation_contracts.names import EVENTS_EXCHANGE
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.publisher import BLOCKED_TIMEOUT, RabbitMQEventPublisher
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent
from tests.integration.rabbitmq.rig import Place, eventually, headers_of

CONFIRMED, RETURNED, NACKED, LOST = PublishResult


def event(
    id_: int, *, key: str = "allocated", message_id: str | None = None, traceparent: str | None = None
) -> OutgoingEvent:
    return OutgoingEvent(
        id=id_,
        page=None,
        routing_key=key,
        body=b'{"sequence": 1}',
        message_id=message_id or f"event-{id_}",
        type=f"{key}.v1",
        correlation_id="conversation",
        causation_id="command",
        traceparent=traceparent,
        timestamp=1_700_000_000,
    )


class Relay:
    """A publisher, and all results."""

    def __init__(self, *urls: str, blocked_timeout: float = BLOCKED_TIMEOUT) -> None:
        self.woken = threading.Event()
        self.publisher = RabbitMQEventPublisher(urls, self.woken.set, blocked_timeout=blocked_timeout)
        self._taken: list[MessageResult] = []

    @property
    def results(self) -> list[MessageResult]:
        self._taken += self.publisher.take_results()
        return self._taken

    def kinds(self) -> dict[int, PublishResult]:
        return {each.id: each.result for each in self.results}

    def publish(self, *events: OutgoingEvent) -> dict[int, PublishResult]:
        """Publish, knowing of every loss so far, and wait for every answer, woken for each."""
        self.kinds()
        self.publisher.publish(events)
        wanted = {each.id for each in events}
        while not wanted <= set(self.kinds()):
            assert self.woken.wait(60)
            self.woken.clear()
        return {id_: kind for id_, kind in self.kinds().items() if id_ in wanted}


@pytest.fixture
def relay(place: Place) -> Iterator[Relay]:
    relay = Relay(place.url)
    assert relay.woken.wait(60)
    assert relay.publisher.connected
    yield relay
    relay.publisher.close()
    assert not relay.publisher.connected


@pytest.fixture
def subscriber(place: Place) -> str:
    """A queue that takes the `allocated` events."""
    place.channel.queue_declare("subscriber", durable=True, arguments={"x-queue-type": "quorum"})
    place.channel.queue_bind("subscriber", EVENTS_EXCHANGE, "allocated")
    return "subscriber"


def test_an_event_is_confirmed_and_carries_all_that_was_promised(place: Place, relay: Relay, subscriber: str) -> None:
    assert relay.publish(event(7, traceparent="trace")._replace(tracestate="a=b")) == {7: CONFIRMED}
    ((properties, body),) = place.take_all(subscriber)
    assert body == b'{"sequence": 1}'
    assert headers_of(properties) == {"causation_id": "command", "traceparent": "trace", "tracestate": "a=b"}
    properties.headers = None
    assert {name: value for name, value in vars(properties).items() if value is not None} == {
        "content_type": "application/json",
        "delivery_mode": 2,
        "correlation_id": "conversation",
        "message_id": "event-7",
        "timestamp": 1_700_000_000,
        "type": "allocated.v1",
        "app_id": "allocation-worker",
    }


def test_without_a_trace_no_header_for_it_is_sent(place: Place, relay: Relay, subscriber: str) -> None:
    relay.publish(event(1))
    ((properties, _),) = place.take_all(subscriber)
    assert headers_of(properties) == {"causation_id": "command"}


@pytest.mark.usefixtures("subscriber")
def test_a_returned_event_is_told_from_its_neighbours_even_when_ids_repeat(relay: Relay) -> None:
    keys = ["allocated", "nobody", "allocated", "nobody", "nobody", "allocated"] * 100
    events = [event(id_, key=key, message_id="the same") for id_, key in enumerate(keys)]
    assert relay.publish(*events) == {
        id_: CONFIRMED if key == "allocated" else RETURNED for id_, key in enumerate(keys)
    }
    assert len(relay.results) == len(keys)


def test_without_any_subscriber_every_event_is_returned(relay: Relay) -> None:
    assert set(relay.publish(*map(event, range(1000))).values()) == {RETURNED}


@pytest.mark.usefixtures("subscriber")
def test_an_event_that_does_not_fit_into_amqp_harms_no_other(relay: Relay) -> None:
    kinds = relay.publish(event(1), event(2, message_id="x" * 256), event(3))
    assert kinds == {1: CONFIRMED, 2: NACKED, 3: CONFIRMED}


@pytest.mark.usefixtures("subscriber")
def test_what_a_lost_connection_leaves_open_is_lost_and_then_it_goes_on(
    relay: Relay, close_connections: Callable[[], None]
) -> None:
    thread = threading.Thread(target=close_connections)
    thread.start()
    number = 0
    while LOST not in relay.kinds().values():
        relay.publish(*map(event, range(number, number + 500)))
        number += 500
    thread.join()
    eventually(lambda: relay.publisher.connected)
    assert relay.publish(event(-1)) == {-1: CONFIRMED}
    assert len(relay.results) == number + 1


@pytest.mark.usefixtures("subscriber")
def test_nothing_is_published_behind_what_was_lost_and_not_yet_known_to_be(
    relay: Relay, close_connections: Callable[[], None]
) -> None:
    relay.publish(event(1))
    relay.woken.clear()
    thread = threading.Thread(target=close_connections)
    thread.start()
    assert relay.woken.wait(60)  # the connection has gone
    thread.join()
    eventually(lambda: relay.publisher.connected)
    relay.publisher.publish([event(3)])  # by one who thinks that event 2, lost meanwhile, is on its way
    eventually(lambda: 3 in relay.kinds())
    assert relay.kinds()[3] is LOST
    assert relay.publish(event(2), event(3)) == {2: CONFIRMED, 3: CONFIRMED}


@pytest.mark.usefixtures("subscriber")
def test_a_missing_exchange_takes_no_events_until_it_is_there_again(place: Place, relay: Relay) -> None:
    place.channel.exchange_delete(EVENTS_EXCHANGE)
    assert relay.publish(event(1)) == {1: NACKED}
    topology.declare([place.url], retry_delays=[1])
    place.channel.queue_bind("subscriber", EVENTS_EXCHANGE, "#")
    eventually(lambda: relay.publisher.connected)
    assert relay.publish(event(2)) == {2: CONFIRMED}


def test_without_a_broker_every_event_is_lost_at_once() -> None:
    relay = Relay("amqp://u:p@127.0.0.1:1/")
    assert relay.publish(event(1), event(2)) == {1: LOST, 2: LOST}
    assert not relay.publisher.connected
    relay.publisher.close()


def test_the_link_knows_whether_an_alarm_blocks_it_and_how_often_one_did(
    place: Place, alarm: Callable[[], object]
) -> None:
    relay = Relay(place.url)
    link = relay.publisher._link
    eventually(lambda: relay.publisher.connected)
    assert (link.blocked, link.blockings) == (False, 0)
    relay.publisher.publish([event(1)])
    eventually(lambda: link.blocked)
    assert link.blockings == 1
    alarm()
    eventually(lambda: not link.blocked)
    assert link.blockings == 1
    relay.publisher.close()


def test_one_that_an_alarm_blocks_for_long_reconnects_until_the_alarm_is_lifted(
    place: Place, alarm: Callable[[], object]
) -> None:
    queue = place.channel.queue_declare("", exclusive=True).method.queue
    place.channel.queue_bind(queue, EVENTS_EXCHANGE, "#")
    relay = Relay(place.url, blocked_timeout=0.5)
    with capture_logs() as logs:
        for number in (1, 2):
            eventually(lambda: relay.publisher.connected)
            assert relay.publish(event(number)) == {number: LOST}
        alarm()
        eventually(lambda: relay.publisher.connected)
        answers = [relay.publish(event(number)) for number in (3, 4)]
    relay.publisher.close()
    assert CONFIRMED in {*answers[0].values(), *answers[1].values()}
    happened = [entry["event"] for entry in logs if entry["event"] in {"amqp_blocked", "amqp_lost", "amqp_connected"}]
    assert happened[:6] == ["amqp_connected", "amqp_blocked", "amqp_lost"] * 2
