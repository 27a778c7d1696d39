"""What the calls of a worker say of it."""

import pytest

from allocation_worker.entrypoints.signs_of_life import Loop, WatchedDeliveries
from allocation_worker.service_layer.outcomes import Done, LockedProduct, SetAside
from tests.fakes.deliveries import FakeDeliveries
from tests.fakes.messages import FakeDelivery

FIRST, SECOND = FakeDelivery(body=b"1"), FakeDelivery(body=b"2")
HELD = SetAside(LockedProduct("SKU", "a lock"))


@pytest.fixture
def loop() -> Loop:
    return Loop("worker")


@pytest.fixture
def watched(loop: Loop) -> WatchedDeliveries[FakeDelivery]:
    return WatchedDeliveries(FakeDeliveries([FIRST, SECOND], None), loop, "the database")


def test_a_worker_with_a_group_is_busy_until_it_has_settled(
    watched: WatchedDeliveries[FakeDelivery], loop: Loop
) -> None:
    watched.take(10)
    assert vars(loop)["busy_since"] is not None
    watched.ack([(FIRST, Done()), (SECOND, HELD)])
    assert loop.busy_since is None
    assert loop.settled is not None


def test_a_worker_whose_messages_all_wait_for_a_held_product_is_idle_and_has_settled_nothing(
    watched: WatchedDeliveries[FakeDelivery], loop: Loop
) -> None:
    watched.take(10)
    watched.ack([(FIRST, HELD), (SECOND, HELD)])
    assert (loop.busy_since, loop.settled) == (None, None)
    assert watched.take(10, within=0.1) is None


def test_a_worker_that_waits_for_the_database_moves_and_says_so(
    watched: WatchedDeliveries[FakeDelivery], loop: Loop
) -> None:
    watched.take(10)
    loop.beat = None
    watched.hold()
    assert (loop.waiting_for, loop.beat is not None) == ("the database", True)
    watched.release()
    assert loop.waiting_for is None
