import datetime as dt
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from allocation_contracts.names import COMMANDS_EXCHANGE, DEAD_LETTERS, ORDERS_QUEUE
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.adapters.rabbitmq.retry_queues import retry_queue
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Outcome, Retry
from allocation_worker.testing.servers import Servers
from tests.integration.rabbitmq.rig import Place, Workers, eventually, headers_of, running, unique, working

Decide = Callable[[Delivery], Outcome]

MIN_FRAME_MAX = 8192
_PROPERTIES: dict[str, Any] = {
    "type": "allocate.v1",
    "correlation_id": "conversation",
    "content_type": "application/json",
    "content_encoding": "identity",
    "app_id": "shop",
    "timestamp": 1_700_000_000,
    "reply_to": "someone",
    "priority": 3,
}


def retry_until(attempts: int) -> Decide:
    """Retry, after 1 s, until so many have failed."""

    def decide(delivery: Delivery) -> Outcome:
        failed = headers_of(delivery.properties).get("x-attempts", 0)
        return Done() if failed == attempts else Retry(after=1, attempts=failed + 1)

    return decide


def bury(_delivery: Delivery) -> Outcome:
    return DeadLettered(reason="bad-json", detail="It is no JSON.", attempts=4, exception="ValueError: no")


def test_a_retried_message_comes_back_after_its_delay_as_it_was(place: Place) -> None:
    place.send("again", headers={"traceparent": "t", "n": 1}, **_PROPERTIES)
    with working(place, retry_until(1)) as workers:
        eventually(lambda: len(workers.ids) == 1)
        began = time.monotonic()
        eventually(lambda: len(workers.ids) == 2)
        assert time.monotonic() - began > 0.9
    first, second = workers.deliveries
    assert second.body == first.body
    assert {name: getattr(second.properties, name) for name in _PROPERTIES} == _PROPERTIES
    assert (second.properties.message_id, second.properties.delivery_mode) == ("again", 2)
    headers = headers_of(second.properties)
    assert [headers[name] for name in ("traceparent", "n", "x-attempts")] == ["t", 1, 1]
    assert place.depth(ORDERS_QUEUE) == 0


def test_the_death_history_does_not_grow_over_several_retries(place: Place) -> None:
    place.send("again and again")
    with working(place, retry_until(3)) as workers:
        eventually(lambda: len(workers.ids) == 4)
    deaths = [headers_of(delivery.properties).get("x-death", []) for delivery in workers.deliveries]
    assert [len(death) for death in deaths] == [0, 1, 1, 1]
    assert [death[0]["count"] for death in deaths[1:]] == [1, 1, 1]
    assert [headers_of(delivery.properties).get("x-attempts") for delivery in workers.deliveries] == [None, 1, 2, 3]


def test_a_dead_letter_keeps_what_it_was_and_says_why(place: Place) -> None:
    place.send("dead", headers={"traceparent": "t"}, **_PROPERTIES)
    with working(place, bury):
        ((properties, body),) = place.dead_letters()
    assert body == b"body of dead"
    assert {name: getattr(properties, name) for name in _PROPERTIES} == _PROPERTIES
    headers = headers_of(properties)
    failed_at = dt.datetime.fromisoformat(headers.pop("x-failed-at"))
    assert abs(dt.datetime.now(dt.UTC) - failed_at) < dt.timedelta(minutes=1)
    assert headers == {
        "traceparent": "t",
        "x-reason": "bad-json",
        "x-detail": "It is no JSON.",
        "x-exception": "ValueError: no",
        "x-attempts": 4,
        "x-original-queue": ORDERS_QUEUE,
    }
    assert place.depth(ORDERS_QUEUE) == 0


@pytest.mark.parametrize("decide", [bury, retry_until(1)], ids=["dead letter", "retry"])
def test_a_copy_does_not_carry_what_the_broker_would_act_upon(place: Place, decide: Decide) -> None:
    place.channel.queue_declare("eavesdropper", durable=True)
    user = urlsplit(place.url).username
    place.send("trap", headers={"CC": ["eavesdropper"]}, expiration="60000", user_id=user)
    with working(place, decide) as workers:
        if decide is bury:
            ((properties, _),) = place.dead_letters()
        else:
            eventually(lambda: len(workers.ids) == 2)
            properties = workers.deliveries[1].properties
    headers = headers_of(properties)
    assert (properties.expiration, properties.user_id, headers.get("CC")) == (None, None, None)
    assert headers["x-original-cc"] == ["eavesdropper"]
    assert headers["x-original-expiration"] == "60000"
    assert headers["x-original-user-id"] == user
    assert place.depth("eavesdropper") == 0


def test_messages_behind_one_whose_copy_waits_are_acked_when_it_is_settled(place: Place) -> None:
    ids = unique(30)
    place.send(*ids)

    def decide(delivery: Delivery) -> Outcome:
        return bury(delivery) if delivery.properties.message_id in ids[::10] else Done()

    with working(place, decide) as workers:
        assert len(place.dead_letters(count=3)) == 3
        eventually(lambda: set(workers.ids) == set(ids))
    assert place.depth(ORDERS_QUEUE) == 0


def test_long_words_are_cut_to_fit_and_odd_ones_replaced(place: Place) -> None:
    place.send("wordy")
    with working(place, lambda _: DeadLettered(reason="r", detail="é" * 200_000, exception="lone \ud800")):
        ((properties, _),) = place.dead_letters()
    headers = headers_of(properties)
    assert len(headers["x-detail"]) == 2048
    assert headers["x-exception"] == "lone ?"


def test_headers_that_leave_no_room_are_carried_as_text(place: Place) -> None:
    place.send("stuffed", headers={"huge": "x" * 125_000, "traceparent": "t"})
    with working(place, bury):
        ((properties, body),) = place.dead_letters()
    headers = headers_of(properties)
    assert body == b"body of stuffed"
    assert headers["x-original-headers"].startswith("{'huge': 'xxx")
    assert (headers["traceparent"], headers["x-reason"]) == ("t", "bad-json")


def broker_version(servers: Servers) -> tuple[int, ...]:
    version = str(servers.broker._api("GET", "overview")["rabbitmq_version"])
    return tuple(int(part) for part in version.split(".")[:2])


@pytest.mark.parametrize("frame_max", [4096, 8192])
def test_a_copy_fits_into_the_frames_of_its_connection_and_says_why(
    place: Place, servers: Servers, frame_max: int
) -> None:
    if frame_max < MIN_FRAME_MAX and broker_version(servers) >= (4, 1):
        pytest.skip("RabbitMQ 4.1 and later take no connection with such small frames")
    place.send("stuffed", headers={"huge": "é" * 25_000, "traceparent": "t"}, **_PROPERTIES)

    def decide(delivery: Delivery) -> Outcome:
        if delivery.attempts:
            return DeadLettered(reason="bad", detail="d" * 5_000, exception="e" * 5_000, attempts=2)
        return Retry(after=1, attempts=1)

    workers = Workers([f"{place.url}?frame_max={frame_max}"], [ORDERS_QUEUE], decide)
    with running(workers), capture_logs() as logs:
        ((properties, body),) = place.dead_letters()
    headers = headers_of(properties)
    assert body == b"body of stuffed"
    assert (headers["x-reason"], headers["x-original-queue"], headers["traceparent"]) == ("bad", ORDERS_QUEUE, "t")
    assert headers["x-detail"].startswith("d" * 100)
    assert headers["x-exception"].startswith("e" * 100)
    assert headers["x-original-headers"].startswith("{")
    assert {name: getattr(properties, name) for name in _PROPERTIES} == _PROPERTIES
    assert not [entry for entry in logs if entry["event"] == "amqp_lost"]


def test_headers_of_every_type_are_carried_on(place: Place) -> None:
    moment = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
    odd = {"d": Decimal("1.5"), "t": moment, "list": [None, True, {"deep": b"\xff"}], "big": 2**62}
    place.send("odd", headers=odd)
    with working(place, bury):
        ((properties, _),) = place.dead_letters()
    assert {name: value for name, value in headers_of(properties).items() if name in odd} == odd


def test_a_copy_that_is_returned_is_sent_again_until_it_is_taken(place: Place) -> None:
    queue = retry_queue(ORDERS_QUEUE, 1)
    place.channel.queue_delete(queue)
    place.send("patient")
    with working(place, retry_until(1)) as workers, capture_logs() as logs:
        eventually(lambda: any(entry.get("answer") == "RETURNED" for entry in logs))
        assert {entry["remedy"] for entry in logs if entry["event"] == "copy_not_taken"} == {
            "run `allocation-worker topology`."
        }
        topology.declare([place.url], retry_delays=[1])
        eventually(lambda: len(workers.ids) == 2)
    assert workers.deliveries[-1].failures == 0
    assert place.depth(ORDERS_QUEUE) == 0


def test_the_original_is_not_acked_before_its_copy_is_confirmed(place: Place) -> None:
    place.channel.queue_delete(retry_queue(ORDERS_QUEUE, 1))
    place.send("kept")
    with working(place, retry_until(1), grace=0.1), capture_logs() as logs:
        eventually(lambda: any(entry.get("answer") == "RETURNED" for entry in logs))
    eventually(lambda: place.depth(ORDERS_QUEUE) == 1)


def test_a_copy_whose_channel_is_closed_is_sent_again_on_another(place: Place) -> None:
    place.channel.exchange_delete(DEAD_LETTERS)
    place.send("patient")
    with working(place, bury), capture_logs() as logs:
        eventually(lambda: any(entry.get("answer") == "LOST" for entry in logs))
        topology.declare([place.url], retry_delays=[1])
        ((properties, _),) = place.dead_letters()
    assert properties.message_id == "patient"
    assert place.depth(ORDERS_QUEUE) == 0


def test_a_message_without_any_property_can_be_buried(place: Place) -> None:
    place.channel.basic_publish(COMMANDS_EXCHANGE, "allocate", b"")
    with working(place, bury):
        ((properties, body),) = place.dead_letters()
    assert (body, properties.message_id) == (b"", None)


def test_stopping_waits_for_the_copies_under_way(place: Place) -> None:
    place.send(*unique(100))
    workers = Workers([place.url], [ORDERS_QUEUE], bury)
    workers.limit = 100
    workers.start()
    eventually(lambda: len(workers.ids) > 10)
    workers.stop()
    eventually(lambda: place.depth(ORDERS_QUEUE) + place.depth(DEAD_LETTERS) == 100)
