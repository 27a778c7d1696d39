import pytest

from allocation_contracts.names import ORDERS_QUEUE, STOCK_QUEUE
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.adapters.rabbitmq.probation import FAILURES_BEFORE
from allocation_worker.service_layer.outcomes import Outcome
from tests.integration.rabbitmq.rig import Place, Workers, eventually, unique, working
from tests.raw_headers import TOO_LATE, RawHeader, allow, nested


@pytest.fixture(autouse=True)
def raw_header_values(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch)


@pytest.mark.parametrize("poison", [nested(600), TOO_LATE], ids=["nested", "timestamp"])
def test_headers_that_kill_the_connection_end_alone_in_the_dead_letters(place: Place, poison: RawHeader) -> None:
    before, after, stock = unique(30), unique(30), unique(30)
    with working(place, queues=[ORDERS_QUEUE, STOCK_QUEUE]) as workers:
        place.send(*before)
        place.send("culprit", headers={"h": poison})
        place.send(*after)
        place.send(*stock, key="create-batch")
        eventually(lambda: place.depth("allocation.dead-letters") == 1, within=30)
        eventually(lambda: set(workers.ids) >= {*before, *after, *stock})
        eventually(lambda: place.depth(ORDERS_QUEUE) == 0)
    assert "culprit" not in workers.ids
    assert not [
        delivery
        for delivery in workers.deliveries
        if delivery.redelivered and delivery.properties.message_id in stock[1:]
    ]


def test_at_full_speed_again_after_the_culprit_is_gone(place: Place) -> None:
    with working(place) as workers:
        place.send("culprit", headers={"h": TOO_LATE})
        eventually(lambda: place.depth("allocation.dead-letters") == 1, within=30)
        ids = unique(300)
        place.send(*ids)
        eventually(lambda: set(workers.ids) == set(ids))
    assert place.depth(ORDERS_QUEUE) == 0


class DiedError(Exception):
    """As if the process had been killed."""


def die(_delivery: Delivery) -> Outcome:
    raise DiedError


def test_processes_that_die_one_after_another_spend_no_innocent_orders_deliveries(place: Place) -> None:
    """Seen when three processes were killed twenty times within three minutes, on a machine with no time left."""
    ids = unique(30)
    place.send(*ids)
    for _ in range(FAILURES_BEFORE):
        channel = place.new_channel()
        eventually(lambda: place.depth(ORDERS_QUEUE) == len(ids))
        for _ in ids:
            channel.basic_get(ORDERS_QUEUE)
        channel.close()
    for _ in range(20):
        workers = Workers([place.url], [ORDERS_QUEUE], die)
        workers.start()
        eventually(lambda: workers.error or place.depth("allocation.dead-letters"))  # noqa: B023 - called before the next turn
        workers.stop()
        assert isinstance(workers.error, DiedError)
    with working(place) as survivors:
        eventually(lambda: set(survivors.ids) == set(ids), within=10)
    assert place.depth("allocation.dead-letters") == 0
