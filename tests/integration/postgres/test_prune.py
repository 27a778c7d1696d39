"""Old rows of the inbox and of the outbox go, at a cost that does not depend on what stays."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import TextClause

from allocation_worker.adapters.postgres.prune import (
    PAGES_AT_A_TIME,
    PostgresPruneTimes,
    TableByIds,
    TableByPages,
    pruned_tables,
)
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, process
from tests.integration.postgres.store import PostgresStore

MANY = 20_000

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


def prune(store: PostgresStore, *, history_days: int = 30, inbox_days: int = 7) -> int:
    """Prune every table through one round; how many rows have gone."""
    now = PostgresPruneTimes(store.engine).server_time()
    gone = 0
    for table in pruned_tables(store.engine, history_days=history_days, inbox_days=inbox_days):
        ended = False
        while not ended:
            rows, ended = table.step(now)
            gone += rows
    return gone


def test_old_published_events_go(store: PostgresStore) -> None:
    write_events(store, "old", age=31, published=True)
    write_events(store, "recent", age=29, published=True)
    assert prune(store) == 1
    assert events_left(store) == ["recent"]


def test_what_waits_is_never_pruned(store: PostgresStore) -> None:
    write_events(store, "waiting", age=3650, published=False)
    assert prune(store) == 0
    assert events_left(store) == ["waiting"]


def test_what_nobody_wanted_for_so_long_goes(store: PostgresStore) -> None:
    write_events(store, "old", age=31, published=False, returned=True)
    write_events(store, "recent", age=29, published=False, returned=True)
    assert prune(store) == 2, "the page and the event that was kept"
    assert events_left(store) == ["recent"]
    assert len(store.rows("SELECT FROM outbox_unrouted")) == 1


def test_old_receipts_go(store: PostgresStore) -> None:
    write_receipts(store, "old-", age=8)
    write_receipts(store, "recent-", age=6)
    assert prune(store) == 1
    assert store.taken("recent-1") == {"recent-1"}


def test_batches_and_lines_are_no_history(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("b", 10)))
    write_events(store, "old", age=2, published=True)
    prune(store, history_days=1, inbox_days=1)
    assert store.stock() == {"b": (10, 0)}
    assert [event.type for event in store.published()] == ["batch-created.v1"]


def test_a_clock_without_a_time_begins_with_that_of_the_server(store: PostgresStore) -> None:
    times = PostgresPruneTimes(store.engine)
    store.execute("DELETE FROM prune_clock")
    before = times.server_time()
    assert before <= times.reached() <= times.server_time()
    assert len(store.rows("SELECT FROM prune_clock")) == 1


def explained(store: PostgresStore, statement: TextClause, **parameters: object) -> tuple[list[dict[str, Any]], int]:
    """Explain a statement without an effect; its scans, and how many blocks it read."""
    with store.engine.connect() as connection:
        explain = sa.text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}")
        (plan,) = connection.execute(explain, parameters).scalar_one()
        connection.rollback()
    nodes, scans = [plan["Plan"]], []
    while nodes:
        node = nodes.pop()
        scans += [node] if "Relation Name" in node and "Scan" in node["Node Type"] else []
        nodes += node.get("Plans", [])
    return scans, plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]


class TestCost:
    @pytest.fixture
    def full(self, store: PostgresStore) -> Iterator[PostgresStore]:
        write_receipts(store, "young-", age=1, count=MANY)
        write_events(store, "young", age=1, published=True, count=MANY)
        store.execute("ANALYZE inbox_entries, outbox_pages")
        yield store
        store.execute("TRUNCATE products, batches, order_lines, inbox_entries, outbox_pages")

    def test_a_step_through_the_inbox_reads_its_pages_only(self, full: PostgresStore) -> None:
        table = TableByPages(full.engine, "inbox_entries", "received_at", keep=timedelta(days=7))
        now = PostgresPruneTimes(full.engine).server_time()
        scans, blocks = explained(
            full, table.delete, first="(0,0)", after=f"({PAGES_AT_A_TIME},0)", before=now - table.keep
        )
        assert {scan["Node Type"] for scan in scans} == {"Tid Range Scan", "Tid Scan"}
        assert blocks <= PAGES_AT_A_TIME

    def test_the_oldest_events_are_found_without_reading_the_others(self, full: PostgresStore) -> None:
        table = TableByIds(full.engine, "outbox_pages", "created_at", keep=timedelta(days=30), may_go="true")
        now = PostgresPruneTimes(full.engine).server_time()
        first = full.rows("SELECT min(id) FROM outbox_pages")[0][0]
        scans, blocks = explained(full, table.find, after=int(str(first)) - 1, before=now - table.keep)
        assert {scan["Index Name"] for scan in scans if "Index Name" in scan} == {"outbox_pages_pkey"}
        assert blocks <= 62 * 4

    def test_beside_a_long_reader_no_round_costs_more_than_the_first(self, full: PostgresStore) -> None:
        """What was deleted stays in the table and in its index for as long as somebody may read it."""
        table = TableByIds(full.engine, "outbox_pages", "created_at", keep=timedelta(days=30), may_go="true", rows=100)
        now = PostgresPruneTimes(full.engine).server_time()
        with full.engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
            reader.execute(sa.text("SELECT count(*) FROM outbox_pages"))
            costs = []
            full.execute("UPDATE outbox_pages SET created_at = now() - interval '31 days' WHERE id % 2 = 0")
            for _ in range(100):
                after = table.place.after if table.place else 0
                _, blocks = explained(full, table.delete, after=after, last=after + 100, before=now - table.keep)
                assert table.step(now).rows
                costs.append(blocks)
        assert max(costs[50:]) <= 2 * max(costs[1:10])
