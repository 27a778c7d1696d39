"""After a restored backup, the numbers of events skip what may have been given out, and `verify` knows."""

import pytest

from allocation_worker.adapters.postgres.restored import BEYOND, restored
from allocation_worker.adapters.postgres.verify import audit
from allocation_worker.service_layer.verify import Audit
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, order, process
from tests.integration.postgres.store import PostgresStore


def look(store: PostgresStore) -> Audit:
    return audit(store.engine, history_days=90, inbox_days=7, stuck_after=300)


def decide(store: PostgresStore, *names: str) -> None:
    for name in names:
        process(store.unit_of_work, message(order(name)))


@pytest.fixture
def twice(store: PostgresStore) -> PostgresStore:
    """A shop that was restored twice, and worked before, between and after."""
    process(store.unit_of_work, message(create("b", 100)))
    decide(store, "1", "2")
    assert restored(store.engine).sequence == 2 * BEYOND
    decide(store, "3", "4", "5")
    assert restored(store.engine).sequence == 4 * BEYOND
    decide(store, "6")
    return store


def test_nothing_is_wrong_after_restorations(twice: PostgresStore) -> None:
    found = look(twice)
    assert found.faults == []
    assert [notice for notice in found.notices if f"events go on after {2 * BEYOND}." in notice]
    numbers = [event.sequence for event in twice.published()]
    assert numbers == [1, 2, 3, 2 * BEYOND + 1, 2 * BEYOND + 2, 2 * BEYOND + 3, 4 * BEYOND + 1]


def test_nothing_is_wrong_directly_after_a_restoration(twice: PostgresStore) -> None:
    restored(twice.engine)
    assert look(twice).faults == []


@pytest.mark.parametrize("lost", [2, 2 * BEYOND + 2, 4 * BEYOND + 2])
def test_an_event_that_is_lost_is_found_before_and_after_a_restoration(twice: PostgresStore, lost: int) -> None:
    decide(twice, "7", "8")
    twice.edit("DELETE FROM history WHERE sequence = :lost", lost=lost)
    assert any("are in the outbox" in example for fault in look(twice).faults for example in fault.examples)


def test_a_number_that_nothing_explains_is_found(twice: PostgresStore) -> None:
    twice.execute("UPDATE products SET sequence = sequence + 1000")
    assert any("are in the outbox" in example for fault in look(twice).faults for example in fault.examples)
