"""Expired inbox and outbox rows are deleted in small batches."""

import pytest

from allocation_worker.adapters.postgres import prune
from allocation_worker.adapters.postgres.prune import History
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, process
from tests.integration.postgres.store import PostgresStore

WRITE_RECEIPTS = """
    INSERT INTO inbox_entries (key, fingerprint, received_at)
    SELECT inbox_key(:label || n), sha256('x'), now() - make_interval(days => :age)
    FROM generate_series(1, :count) AS n
"""


def write_events(
    store: PostgresStore, label: str, *, age: int, published: bool, returned: bool = False, count: int = 1
) -> None:
    """So many pages, of one event each."""
    store.write_pages(*[["allocated.v1"]] * count)
    store.edit(
        "UPDATE history SET correlation_id = :label, created_at = now() - make_interval(days => :age), "
        "published_at = CASE WHEN :published THEN now() END, unrouted = :returned WHERE correlation_id = 'c'",
        label=label,
        age=age,
        published=published,
        returned=returned,
    )


def write_receipts(store: PostgresStore, label: str, *, age: int, count: int = 1) -> None:
    store.execute(WRITE_RECEIPTS, label=label, age=age, count=count)


def events_left(store: PostgresStore) -> list[str]:
    return sorted(event.correlation_id for event in store.published())


@pytest.fixture
def history(store: PostgresStore) -> History:
    return History(store.engine, history_days=30, inbox_days=7)


def test_old_published_events_go(store: PostgresStore, history: History) -> None:
    write_events(store, "old", age=31, published=True)
    write_events(store, "recent", age=29, published=True)
    assert history.prune_some() is False
    assert events_left(store) == ["recent"]


def test_what_waits_is_never_pruned(store: PostgresStore, history: History) -> None:
    write_events(store, "waiting", age=3650, published=False)
    history.prune_some()
    assert events_left(store) == ["waiting"]


def test_what_nobody_wanted_for_so_long_goes(store: PostgresStore, history: History) -> None:
    write_events(store, "old", age=31, published=False, returned=True)
    write_events(store, "recent", age=29, published=False, returned=True)
    history.prune_some()
    assert events_left(store) == ["recent"]
    assert len(store.rows("SELECT FROM outbox_unrouted")) == 1


def test_old_receipts_go(store: PostgresStore, history: History) -> None:
    write_receipts(store, "old-", age=8)
    write_receipts(store, "recent-", age=6)
    assert history.prune_some() is False
    assert store.taken("recent-1") == {"recent-1"}


def test_much_goes_in_chunks(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "PAGES_AT_A_TIME", 10)
    write_events(store, "old", age=31, published=True, count=25)
    write_receipts(store, "old-", age=8, count=5)
    left = []
    history = History(store.engine, history_days=30, inbox_days=7)
    while history.prune_some():
        left.append((len(events_left(store)), len(store.taken())))
    assert left == [(15, 0), (5, 0)]
    assert (events_left(store), store.taken()) == ([], set())


def test_batches_and_lines_are_no_history(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("b", 10)))
    write_events(store, "old", age=1, published=True)
    History(store.engine, history_days=1, inbox_days=1).prune_some()
    assert store.stock() == {"b": (10, 0)}
    assert [event.type for event in store.published()] == ["batch-created.v1"]
