import pytest

from allocation_contracts.properties import ORDERS_QUEUE, STOCK_QUEUE
from tests.integration.rabbitmq.rig import Place, eventually, unique, working
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
        delivery for delivery in workers.deliveries if delivery.redelivered and delivery.message_id in stock[1:]
    ]


def test_at_full_speed_again_after_the_culprit_is_gone(place: Place) -> None:
    with working(place) as workers:
        place.send("culprit", headers={"h": TOO_LATE})
        eventually(lambda: place.depth("allocation.dead-letters") == 1, within=30)
        ids = unique(300)
        place.send(*ids)
        eventually(lambda: set(workers.ids) == set(ids))
    assert place.depth(ORDERS_QUEUE) == 0
