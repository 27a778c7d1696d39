import random
import threading
from collections.abc import Callable, Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from allocation_contracts.names import DEAD_LETTERS, ORDERS_QUEUE, STOCK_QUEUE
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.adapters.rabbitmq.prefetch_policy import FAILURES_BEFORE_ALONE, FAILURES_BEFORE_RETURN
from allocation_worker.service_layer.outcomes import Done, Outcome
from tests.integration.rabbitmq.rig import Place, Workers, eventually, headers_of, unique, working
from tests.raw_headers import TOO_LATE, UNDECODABLE, RawHeader, allow


@pytest.fixture(autouse=True)
def raw_header_values(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch)


each_kind = pytest.mark.parametrize("poison", UNDECODABLE.values(), ids=UNDECODABLE)


def connections_lost(logs: Sequence[Mapping[str, object]]) -> int:
    return sum(entry["event"] == "amqp_lost" for entry in logs)


@each_kind
def test_headers_that_pika_cannot_decode_are_one_dead_letter_each_and_harm_no_neighbour(
    place: Place, poison: RawHeader
) -> None:
    good, culprits = unique(30), unique(10)
    for number, culprit in enumerate(culprits):
        place.send(*good[3 * number : 3 * number + 3])
        place.send(culprit, headers={"h": poison})
    with working(place) as workers, capture_logs() as logs:
        eventually(lambda: place.depth(DEAD_LETTERS) == len(culprits), within=10)
        eventually(lambda: len(workers.ids) == len(good))
        eventually(lambda: place.depth(ORDERS_QUEUE) == 0)
    assert workers.ids == good
    assert not [delivery for delivery in workers.deliveries if delivery.failures]
    assert connections_lost(logs) == 0
    letters = place.take_all(DEAD_LETTERS)
    assert [properties.message_id for properties, _ in letters] == culprits
    for properties, body in letters:
        headers = headers_of(properties)
        assert headers["x-reason"] == "undecodable-headers"
        assert headers["x-original-queue"] == ORDERS_QUEUE
        assert poison.value in headers["x-original-properties"]
        assert body == f"body of {properties.message_id}".encode()


def test_they_are_answered_while_earlier_messages_are_in_work_and_are_not_dead_lettered_twice(
    place: Place, close_connections: Callable[[], None]
) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def decide(_delivery: Delivery) -> Outcome:
        at_work.set()
        assert go_on.wait(20)
        return Done()

    with working(place, decide) as workers:
        place.send("first")
        assert at_work.wait(20)
        place.send("second")
        place.send("culprit", headers={"h": TOO_LATE})
        eventually(lambda: place.depth(DEAD_LETTERS) == 1, within=10)
        close_connections()
        go_on.set()
        eventually(lambda: workers.ids.count("second") == 1)
        eventually(lambda: place.depth(ORDERS_QUEUE) == 0)
    assert place.depth(DEAD_LETTERS) == 1


@each_kind
def test_headers_that_pika_cannot_decode_do_not_stop_the_stock_queue(place: Place, poison: RawHeader) -> None:
    ids = unique(20)
    place.send("culprit", key="create-batch", headers={"h": poison})
    place.send(*ids, key="create-batch")
    with working(place, queues=[STOCK_QUEUE]) as workers:
        eventually(lambda: workers.ids == ids, within=10)
    [(properties, _)] = place.dead_letters()
    assert headers_of(properties)["x-original-queue"] == STOCK_QUEUE


def test_at_full_speed_again_after_the_culprit_is_gone(place: Place) -> None:
    place.send("culprit")
    for _ in range(FAILURES_BEFORE_ALONE):
        channel = place.new_channel()
        eventually(lambda: place.depth(ORDERS_QUEUE) == 1)
        channel.basic_get(ORDERS_QUEUE)
        channel.close()
    with working(place) as workers, capture_logs() as logs:
        eventually(lambda: workers.ids == ["culprit"])
        ids = unique(300)
        place.send(*ids)
        eventually(lambda: set(workers.ids) == {"culprit", *ids})
    assert [entry["prefetch"] for entry in logs if entry["event"] == "consuming"] == [1, 500]
    assert place.depth(ORDERS_QUEUE) == 0


class DiedError(Exception):
    """As if the process had been killed."""


def die(_delivery: Delivery) -> Outcome:
    raise DiedError


def test_processes_that_die_one_after_another_spend_no_innocent_orders_deliveries(place: Place) -> None:
    """Seen when three processes were killed twenty times within three minutes, on a machine with no time left."""
    ids = unique(30)
    place.send(*ids)
    for _ in range(FAILURES_BEFORE_ALONE):
        channel = place.new_channel()
        eventually(lambda: place.depth(ORDERS_QUEUE) == len(ids))
        for _ in ids:
            channel.basic_get(ORDERS_QUEUE)
        channel.close()
    for _ in range(20):
        workers = Workers([place.url], [ORDERS_QUEUE], die)
        workers.start()
        eventually(lambda: workers.error or place.depth(DEAD_LETTERS))  # noqa: B023 - called before the next turn
        workers.stop()
        assert isinstance(workers.error, DiedError)
    with working(place) as survivors:
        eventually(lambda: set(survivors.ids) == set(ids), within=10)
    assert place.depth(DEAD_LETTERS) == 0


@pytest.mark.parametrize("poisoned", [False, True])
def test_processes_that_die_more_often_than_the_delivery_limit_in_a_backlog_harm_no_stock_command(
    place: Place, *, poisoned: bool
) -> None:
    """Seen in an hour of chaos: each start took 2,000 messages, returned them, and handled them one at a time."""
    ids = unique(2_000)
    culprit = ids[1_000] if poisoned else None
    place.send(*ids, key="create-batch")
    good = [id_ for id_ in ids if id_ != culprit]
    chance = random.Random(1)
    done: dict[object, int] = {}

    def dies_after(count: int) -> Callable[[Delivery], Outcome]:
        left = iter(range(count))

        def decide(delivery: Delivery) -> Outcome:
            if delivery.properties.message_id == culprit or next(left, None) is None:
                raise DiedError
            done.setdefault(delivery.properties.message_id, delivery.failures)
            return Done()

        return decide

    deaths = 0
    while len(done) < len(good):
        workers = Workers([place.url], [STOCK_QUEUE], dies_after(chance.randrange(10, 200) if deaths < 30 else 2_000))
        workers.start()
        eventually(lambda: workers.error or len(done) == len(good), within=20)  # noqa: B023 - called before the next
        workers.stop()
        deaths += isinstance(workers.error, DiedError)
    assert deaths > 20
    assert list(done) == good
    assert max(done.values()) <= FAILURES_BEFORE_RETURN + 4
    dead = [properties.message_id for properties, _ in place.take_all(DEAD_LETTERS)]
    assert dead == ([culprit] if poisoned else [])


def test_connections_lost_more_often_than_the_delivery_limit_in_a_backlog_harm_no_stock_command(
    place: Place, close_connections: Callable[[], None]
) -> None:
    ids = unique(1_000)
    place.send(*ids, key="create-batch")
    with working(place, queues=[STOCK_QUEUE], decide=slowly) as workers:
        for _ in range(22):
            seen = len(workers.ids)
            eventually(lambda: len(workers.ids) > seen + 5 or len(set(workers.ids)) == len(ids))  # noqa: B023
            close_connections()
        eventually(lambda: set(workers.ids) == set(ids), within=30)
    assert list(dict.fromkeys(workers.ids)) == ids
    assert place.depth(DEAD_LETTERS) == 0


def slowly(_delivery: Delivery) -> Outcome:
    threading.Event().wait(0.001)
    return Done()
