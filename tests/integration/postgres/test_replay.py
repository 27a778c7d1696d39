"""Replaying published events, and the errors for events that are not stored."""

from collections.abc import Iterable

import pytest

from allocation_worker.adapters.postgres.replay import open_published
from allocation_worker.domain.commands import Command
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.replay import Replayed, ReplayError, replay
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, order, process
from tests.integration.postgres.store import PostgresStore

A_DAY: list[Command] = [
    create("shelf", 9),
    *(order(f"o{number}") for number in range(5)),
    create("vase", 1, "VASE"),
    order("o2"),
]
PUBLISHED = "UPDATE outbox_pages SET published_at = now()"


@pytest.fixture
def shop(store: PostgresStore) -> PostgresStore:
    """Six events of LAMP, the fourth announced twice, and one of VASE; all published."""
    for number, command in enumerate(A_DAY):
        process(store.unit_of_work, message(command, f"m{number}"))
    store.execute(PUBLISHED)
    return store


class Queue:
    """Where the events go."""

    def __init__(self) -> None:
        self.taken: list[OutgoingEvent] = []

    def publish(self, events: Iterable[OutgoingEvent]) -> int:
        before = len(self.taken)
        self.taken += events
        return len(self.taken) - before


def again(store: PostgresStore, first: int, last: int | None = None, sku: str = "LAMP") -> tuple[Replayed, Queue]:
    queue = Queue()
    with open_published(store.engine) as history:
        return replay(history, queue.publish, sku=sku, first=first, last=last), queue


def refusal(store: PostgresStore, first: int, last: int | None = None, sku: str = "LAMP") -> str:
    with pytest.raises(ReplayError) as refused:
        again(store, first, last, sku)
    return str(refused.value)


def test_each_event_as_it_was_first_announced(shop: PostgresStore) -> None:
    done, queue = again(shop, 2, 5)
    assert done == Replayed(4, 2, 5)
    assert [event.causation_id for event in queue.taken] == ["m1", "m2", "m3", "m4"]
    published = {event.causation_id: event for event in shop.published()}
    assert [event.message_id for event in queue.taken] == [published[f"m{n}"].message_id for n in (1, 2, 3, 4)]


def test_an_event_comes_with_the_trace_context_that_it_had(shop: PostgresStore) -> None:
    command = message(create("traced", 1, "TRACED"))
    process(shop.unit_of_work, command._replace(traceparent="00-1", tracestate="a=b"))
    shop.execute(PUBLISHED)
    _, queue = again(shop, 1, sku="TRACED")
    assert [(event.traceparent, event.tracestate) for event in queue.taken] == [("00-1", "a=b")]


def test_all_from_there_on(shop: PostgresStore) -> None:
    done, queue = again(shop, 6)
    assert (done, len(queue.taken)) == (Replayed(1, 6, 6), 1)


def test_a_sku_never_heard_of(shop: PostgresStore) -> None:
    assert refusal(shop, 1, sku="LAPM") == "SKU 'LAPM' was never heard of; look at its spelling."


def test_an_empty_range(shop: PostgresStore) -> None:
    assert refusal(shop, 5, 4).startswith("The range from 5 to 4 is empty")


@pytest.mark.parametrize(("first", "last"), [(1, 7), (7, 9), (7, None)])
def test_events_that_have_not_happened(shop: PostgresStore, first: int, last: int | None) -> None:
    assert refusal(shop, first, last) == "SKU 'LAMP' has had 6 events so far; ask for some of 1 to 6."


def test_events_that_are_pruned_tell_from_where_on_they_are_kept(shop: PostgresStore) -> None:
    shop.edit("DELETE FROM history WHERE sku = 'LAMP' AND sequence IN (1, 3)")
    assert "kept from event 4 on" in refusal(shop, 1)
    assert "kept from event 4 on" in refusal(shop, 2, 2)
    assert again(shop, 4)[0].events == 3


def test_a_sku_all_of_whose_events_are_pruned(shop: PostgresStore) -> None:
    shop.edit("DELETE FROM history WHERE sku = 'LAMP'")
    assert refusal(shop, 1).startswith("No event of SKU 'LAMP' is in the history any more")


def test_events_that_wait_for_the_relay(shop: PostgresStore) -> None:
    shop.edit("UPDATE history SET published_at = NULL WHERE sequence >= 5")
    assert refusal(shop, 4).startswith("2 of the events 4 to 6 of SKU 'LAMP' are not published yet")
    assert again(shop, 4, 4)[0].events == 1
