"""Consumer and relay keep their promises in a simulated world with faults.

`make simulate` runs many more simulations, or prints one step by step.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import pytest

from allocation_contracts.names import ORDERS_QUEUE, STOCK_QUEUE
from tests.simulation.broker import DELIVERY_LIMIT
from tests.simulation.faults import OK, Outcome
from tests.simulation.histories import deadly
from tests.simulation.judge import judge
from tests.simulation.planted import PLANTED, Plant
from tests.simulation.runs import (
    SMALL,
    SUBSCRIBER_BINDS,
    UPHEAVALS,
    Ended,
    Small,
    by_seed,
    every_schedule,
    planned,
    undisturbed,
)
from tests.simulation.seams import simulated
from tests.simulation.world import Setting

SEEDS = range(200)
SEEDS_TO_FIND_A_BUG = range(100)

pytestmark = pytest.mark.usefixtures("_simulated")


@pytest.fixture
def _simulated() -> Iterator[None]:
    with simulated():
        yield


@pytest.mark.parametrize("small", SMALL, ids=str)
def test_a_small_history_survives_every_fault_at_every_point_and_some_of_every_two(small: Small) -> None:
    assert all_good(every_schedule(small, most=2, nth=1000)) > 130


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("small", SMALL, ids=str)
def test_a_small_history_survives_every_two_faults(small: Small) -> None:
    assert all_good(every_schedule(small, most=2)) > 5000


def test_a_small_history_passes_every_kind_of_point() -> None:
    passed = {point.name.rpartition(": ")[2] for small in SMALL for point in planned(small, {}).passed}
    steps = {"received", "parsed", "inbox-written", "loaded", "handled", "flushed", "committed", "acked"}
    assert passed >= steps | {"acquired", "claimed", "published", "confirmed", "marked"}
    assert {name.split()[0] for name in passed} >= {"publish", "ack"}


def test_any_history_survives_anything_and_every_kind_of_fault_is_among_it() -> None:
    befell: set[str] = set()
    for seed in SEEDS:
        ended = by_seed(seed)
        assert not ended.faults, str(ended)
        befell |= ended.befell
    assert befell == {outcome.name for outcome in Outcome if outcome is not OK} | {*UPHEAVALS, SUBSCRIBER_BINDS}


@pytest.mark.parametrize(("queue", "other"), [(ORDERS_QUEUE, STOCK_QUEUE), (STOCK_QUEUE, ORDERS_QUEUE)])
def test_a_message_that_kills_its_process_leaves_the_other_queues_messages_deliveries_to_spare(
    queue: str, other: str
) -> None:
    for seed in range(40):
        world = undisturbed(Setting(sent=deadly(queue), interleave=True), seed)
        assert not judge(world)
        assert world.broker.queues[other].most_failures <= DELIVERY_LIMIT - 5


def test_a_seed_is_always_the_same_run() -> None:
    for seed in range(5):
        assert by_seed(seed, trace=True) == by_seed(seed, trace=True)


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_a_planted_bug_is_found(plant: Plant) -> None:
    with plant():
        assert any(map(found, SEEDS_TO_FIND_A_BUG)) or any(ended.faults for ended in one_fault_at_a_time())


def all_good(runs: Iterable[Ended]) -> int:
    count = 0
    for ended in runs:
        assert not ended.faults, str(ended)
        count += 1
    return count


def one_fault_at_a_time() -> Iterator[Ended]:
    return chain.from_iterable(every_schedule(small, most=1) for small in reversed(SMALL))


def found(seed: int) -> bool:
    try:
        return bool(by_seed(seed).faults)
    except AssertionError:  # where the broker would have closed the channel
        return True
