"""The relay with a real outbox and a real broker that refuses events: a queue is full, or a permission is missing."""

import re
import threading
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest
from structlog.testing import capture_logs

from allocation_contracts import EVENTS_EXCHANGE
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.publisher import RabbitMQEventPublisher
from allocation_worker.entrypoints.relay import Relay, Waker
from allocation_worker.testing.servers import Servers
from tests.integration.postgres.store import PostgresStore, migrated_engine
from tests.integration.rabbitmq.rig import Place, eventually

UNPUBLISHED = "SELECT FROM outbox_pages WHERE published_at IS NULL"


@pytest.fixture
def store(servers: Servers) -> Iterator[PostgresStore]:
    url = servers.database.new_database()
    engine = migrated_engine(url)
    yield PostgresStore(engine)
    engine.dispose()
    servers.database.drop(url)


@pytest.fixture
def place(servers: Servers) -> Iterator[Place]:
    """A virtual host with two queues for all events: one takes five and refuses more, the other takes all.

    They are classic queues: a quorum queue takes more than its limit of what is published quickly.
    """
    url = servers.broker.new_vhost()
    topology.declare([url], retry_delays=[1])
    place = Place(url)
    for name, limits in (("full", {"x-max-length": 5, "x-overflow": "reject-publish"}), ("healthy", {})):
        place.channel.queue_declare(name, durable=True, arguments={"x-queue-type": "classic", **limits})
        place.channel.queue_bind(name, EVENTS_EXCHANGE, "#")
    yield place
    place.close()


@contextmanager
def relaying(url: str, store: PostgresStore) -> Iterator[None]:
    waker, stopping = Waker(), threading.Event()
    publisher = RabbitMQEventPublisher([url], waker.wake)
    relay = Relay(
        store.open_pending, publisher, waker=waker, active=threading.Event(), stopping=stopping, window=1000, poll=1.0
    )
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        waker.wake()
        thread.join(20)
        publisher.close()
        assert not thread.is_alive()


def taken(place: Place, queue: str) -> list[str]:
    return [str(properties.message_id) for properties, _ in place.take_all(queue)]


def refusals(lines: list[MutableMapping[str, Any]]) -> list[str]:
    return [line["event"] for line in list(lines) if line["event"].startswith("events_")]


def test_a_full_queue_costs_the_healthy_one_a_handful_of_copies_and_no_order(
    place: Place, store: PostgresStore
) -> None:
    store.write_pages(*[["allocated.v1"] * 5] * 4)
    sent = [event.message_id for event in store.published()]
    with capture_logs() as lines, relaying(place.url, store):
        eventually(lambda: "events_refused" in refusals(lines))
        began = monotonic()
        healthy: list[str] = []
        while monotonic() - began < 10:
            healthy += taken(place, "healthy")
            place.channel.connection.process_data_events(time_limit=0.2)
        assert refusals(lines) == ["events_refused"]
        assert len(healthy) <= 20 + 8
        # Somebody reads the full queue now.
        full: list[str] = []

        def all_published() -> bool:
            full.extend(taken(place, "full"))
            return not store.rows(UNPUBLISHED)

        eventually(all_published)
        eventually(lambda: refusals(lines)[-1] == "events_accepted_again")
        full += taken(place, "full")
        healthy += taken(place, "healthy")
    assert list(dict.fromkeys(full)) == sent
    assert list(dict.fromkeys(healthy)) == sent
    assert max(Counter(healthy).values()) <= 12
    assert len(healthy) <= 20 * 5


def test_an_event_that_may_not_be_published_is_no_flood_for_the_queues_of_the_others(
    servers: Servers, place: Place, store: PostgresStore
) -> None:
    """The broker closes the channel over it, and the events before it have no confirm yet."""
    if servers.how != "programs":
        pytest.skip("only a broker that is ours gets another user")
    vhost, ctl = place.url.rpartition("/")[2], servers.broker.ctl
    place.channel.queue_unbind("full", EVENTS_EXCHANGE, "#")
    ctl("add_user", "relay", "hush")
    try:
        ctl("set_permissions", "--vhost", vhost, "relay", "^$", ".*", "^$")
        ctl("set_topic_permissions", "--vhost", vhost, "relay", EVENTS_EXCHANGE, "^allocated$", "^$")
        store.write_pages(["allocated.v1"] * 20, ["out-of-stock.v1"], ["allocated.v1"] * 20)
        sent = [event.message_id for event in store.published()]
        healthy: list[str] = []
        with capture_logs() as lines, relaying(re.sub(r"//[^@]*@", "//relay:hush@", place.url), store):
            eventually(lambda: "events_refused" in refusals(lines))
            assert {line["message_id"] for line in list(lines) if line["event"] == "events_refused"} <= set(sent)
            began = monotonic()
            while monotonic() - began < 10:
                healthy += taken(place, "healthy")
                place.channel.connection.process_data_events(time_limit=0.2)
            assert len(healthy) <= 20 * 5
            assert refusals(lines) == ["events_refused"]
            assert len([line for line in list(lines) if line["event"] == "amqp_connected"]) <= 10
            ctl("clear_topic_permissions", "--vhost", vhost, "relay")
            eventually(lambda: not store.rows(UNPUBLISHED))
        healthy += taken(place, "healthy")
    finally:
        ctl("delete_user", "relay")
    assert list(dict.fromkeys(healthy)) == sent
