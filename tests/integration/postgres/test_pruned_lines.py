"""Ended lines and batches are pruned beside commands: no stock appears or is lost, and no statement reads too much."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from allocation_worker.adapters.postgres import prune as pruning
from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.prune import (
    LINES_PAGES_AT_A_TIME,
    EndedRows,
    PostgresPruneTimes,
    pruned_tables,
)
from allocation_worker.domain.commands import ChangeBatchQuantity, Deallocate, Ship
from allocation_worker.service_layer.outcomes import Done
from tests.fakes.messages import message
from tests.integration.postgres.staging import DEADLINE, backend_of, create, order, process, until, until_blocked
from tests.integration.postgres.store import PostgresStore
from tests.integration.postgres.test_concurrency import check_the_books, race
from tests.integration.postgres.test_prune import explained
from tests.integration.postgres.test_verify import look, sentences

ROUNDS = 25
MANY = 20_000


def tables(store: PostgresStore) -> tuple[EndedRows, EndedRows]:
    """The lines and the batches, kept for 30 days after their end."""
    lines, batches = pruned_tables(store.engine, history_days=30, inbox_days=7, lines_days=30)[-2:]
    assert isinstance(lines, EndedRows)
    assert isinstance(batches, EndedRows)
    return lines, batches


def prune(store: PostgresStore, table: EndedRows, *, days: float = 31) -> int:
    """Prune through one round, so many days from now; how many rows have gone."""
    now = PostgresPruneTimes(store.engine).server_time() + timedelta(days=days)
    gone, ended = 0, False
    while not ended:
        rows, ended = table.step(now)
        gone += rows
    return gone


def age(store: PostgresStore, table: str) -> None:
    store.execute(f"UPDATE {table} SET ended_at = ended_at - interval '31 days'")  # noqa: S608 - ours


def answers(store: PostgresStore) -> list[str]:
    return [str(event.body.get("reason", event.type)) for event in store.published()]


@pytest.fixture
def shipped(store: PostgresStore) -> PostgresStore:
    """A batch of which the line "o" was shipped 31 days ago, and all is sold."""
    for command in (create("b", 5), order("o", 5), Ship(orderid="o", sku="LAMP")):
        process(store.unit_of_work, message(command))
    age(store, "order_lines")
    return store


@pytest.fixture
def ended(shipped: PostgresStore) -> PostgresStore:
    """The same; the line was pruned, and the batch has ended 31 days ago."""
    lines, batches = tables(shipped)
    assert (prune(shipped, lines, days=0), prune(shipped, batches, days=0)) == (1, 0)
    age(shipped, "batches")
    return shipped


class TestBesideCommands:
    def test_a_command_waits_for_the_step_and_then_does_not_know_the_line(self, shipped: PostgresStore) -> None:
        lines, _ = tables(shipped)
        process(shipped.unit_of_work, message(create("c", 5)))
        with ThreadPoolExecutor(1) as pool, shipped.unit_of_work() as uow:
            pid = backend_of(uow._connection)

            def allocate() -> list[Any]:
                uow.products.lock_for([order("o", 5)])
                product = uow.products.get("LAMP", ("o", ""))
                assert product
                return [product.lines["o", ""].shipped]

            def while_pruning(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
                if "DELETE FROM order_lines" in statement and not asked:
                    asked.append(pool.submit(allocate))
                    until_blocked(shipped.engine, pid)

            asked: list[Any] = []
            sa.event.listen(shipped.engine, "before_cursor_execute", while_pruning)
            try:
                assert prune(shipped, lines, days=0) == 1
            finally:
                sa.event.remove(shipped.engine, "before_cursor_execute", while_pruning)
            assert asked[0].result(timeout=DEADLINE) == [False]

    def test_a_step_waits_for_a_command_a_moment_only(self, shipped: PostgresStore) -> None:
        lines, _ = tables(shipped)
        with shipped.unit_of_work() as uow:
            uow.products.lock_for([order("p")])
            assert prune(shipped, lines, days=0) == 0
        assert prune(shipped, lines, days=0) == 1

    def test_a_product_in_constant_use_is_waited_for(
        self, shipped: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is never free for whoever does not wait, since others always do."""
        monkeypatch.setattr(pruning, "LOCKED_FOR_LONG", 1000 * int(DEADLINE))
        lines, _ = tables(shipped)
        waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with ThreadPoolExecutor(1) as pool:
            with shipped.unit_of_work() as uow:
                uow.products.lock_for([order("p")])
                pruned = pool.submit(prune, shipped, lines, days=0)
                until(lambda: bool(shipped.rows(waits)))
            assert pruned.result(timeout=DEADLINE) == 1

    def test_one_that_stays_locked_does_not_keep_another_for_ever(
        self, shipped: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pruning, "LOCKED_FOR_LONG", 1)
        for command in (create("v", 5, "VASE"), order("o", 5, "VASE"), Ship(orderid="o", sku="VASE")):
            process(shipped.unit_of_work, message(command))
        age(shipped, "order_lines")
        lines, _ = tables(shipped)
        waited_for: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, sent: Any, *_rest: object) -> None:
            if "lock_timeout" in statement and "sku" in sent:
                waited_for.append(sent["sku"])

        sa.event.listen(shipped.engine, "before_cursor_execute", note)
        try:
            with shipped.unit_of_work() as uow:
                uow.products.lock_for([order("p"), order("p", 1, "VASE")])
                assert prune(shipped, lines, days=0) == prune(shipped, lines, days=0) == 0
        finally:
            sa.event.remove(shipped.engine, "before_cursor_execute", note)
        assert waited_for == ["LAMP", "VASE"]

    def test_a_step_looks_again_once_it_has_the_locks(self, store: PostgresStore) -> None:
        """Between its first look and the locks, a line is allocated that was out of stock."""
        process(store.unit_of_work, message(create("b", 1)))
        process(store.unit_of_work, message(order("o", 5)))
        lines, _ = tables(store)
        prune(store, lines, days=0)
        age(store, "order_lines")
        interruptions = [message(create("c", 5)), message(order("o", 5))]

        def interrupt(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            if "SKIP LOCKED" in statement and interruptions:
                assert process(store.unit_of_work, *[interruptions.pop(0), interruptions.pop(0)]) == [Done()] * 2

        sa.event.listen(store.engine, "before_cursor_execute", interrupt)
        try:
            assert prune(store, lines, days=0) == 0
        finally:
            sa.event.remove(store.engine, "before_cursor_execute", interrupt)
        assert store.stock() == {"b": (1, 0), "c": (5, 5)}
        check_the_books(store)

    def test_pruning_races_with_commands_and_the_books_are_right(self, store: PostgresStore) -> None:
        lines, batches = tables(store)
        for number in range(ROUNDS):
            sku = f"SKU-{number}"
            process(store.unit_of_work, message(create(f"b-{number}", 9, sku)))
            process(store.unit_of_work, *(message(order(f"o{line}", 3, sku)) for line in range(4)))
            process(store.unit_of_work, *(message(Ship(orderid=f"o{line}", sku=sku)) for line in range(2)))
            process(store.unit_of_work, message(Deallocate(orderid="o2", sku=sku)))
            commands = [
                message(command)
                for command in (
                    order("o0", 3, sku),
                    Ship(orderid="o1", sku=sku),
                    Deallocate(orderid="o2", sku=sku),
                    order("o3", 3, sku),
                    ChangeBatchQuantity(batchref=f"b-{number}", qty=6),
                )
            ]
            race(
                partial(process, store.unit_of_work, *commands),
                lambda: prune(store, lines),
                lambda: prune(store, batches, days=62),
            )
        assert sentences(look(store)) == []

    def test_two_processes_prune_at_once_and_count_a_line_once(self, store: PostgresStore) -> None:
        for number in range(ROUNDS):
            sku = f"SKU-{number}"
            process(store.unit_of_work, message(create(f"b-{number}", 5, sku)))
            process(store.unit_of_work, message(order("o", 2, sku)))
            process(store.unit_of_work, message(Ship(orderid="o", sku=sku)))
            age(store, "order_lines")

            def prune_lines() -> Callable[[], int]:
                table, _ = tables(store)
                return lambda: prune(store, table, days=0)

            race(prune_lines(), prune_lines())
            check_the_books(store)
        assert sentences(look(store)) == []

    def test_a_batch_that_is_pruned_under_a_command_is_not_created_anew(self, ended: PostgresStore) -> None:
        """The command has found the batch, and then waits for the product that the step has locked."""
        _, batches = tables(ended)
        pruned: list[int] = []

        def interrupt(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            if "FROM products" in statement and "SKIP LOCKED" not in statement and not pruned:
                pruned.append(0)
                pruned[0] = prune(ended, batches, days=0)

        sa.event.listen(ended.engine, "before_cursor_execute", interrupt)
        try:
            again = [message(create("b", 5)), message(ChangeBatchQuantity(batchref="b", qty=9))]
            assert process(ended.unit_of_work, *again) == [Done()] * 2
        finally:
            sa.event.remove(ended.engine, "before_cursor_execute", interrupt)
        assert pruned == [1]
        assert ended.stock() == {}
        assert answers(ended)[-2:] == ["batch-exists", "unknown-batch"]


class TestWhatElseReadsTheTables:
    def test_verify_finds_no_fault(self, ended: PostgresStore) -> None:
        assert sentences(look(ended)) == []
        _, batches = tables(ended)
        assert prune(ended, batches, days=0) == 1
        assert sentences(look(ended)) == []

    def test_verify_finds_stock_that_was_given_back(self, ended: PostgresStore) -> None:
        ended.execute("UPDATE batches SET allocated = 0, shipped = 0")
        assert "Batch b counts 0 as allocated, and its lines hold 5." in sentences(look(ended))

    def test_a_row_of_before_the_migration_goes_some_days_after_it_is_first_seen(self, shipped: PostgresStore) -> None:
        shipped.execute("UPDATE order_lines SET ended_at = NULL")
        lines, _ = tables(shipped)
        assert prune(shipped, lines, days=0) == 0
        assert len(shipped.rows("SELECT FROM order_lines WHERE ended_at > now() - interval '1 minute'")) == 1
        age(shipped, "order_lines")
        assert prune(shipped, lines, days=0) == 1


class TestCost:
    @pytest.fixture
    def full(self, store: PostgresStore) -> Iterator[PostgresStore]:
        """Many shipped lines of a thousand products, all young."""
        store.execute(
            "INSERT INTO products SELECT 'SKU-' || n, gen_random_uuid(), 100, 1 FROM generate_series(0, 999) AS n"
        )
        store.execute(
            "INSERT INTO batches (reference, sku, purchased, allocated, shipped, arrival, created_qty, sequence) "
            "SELECT 'b-' || n, 'SKU-' || n, :each, :each, :each, 1, :each, 1 FROM generate_series(0, 999) AS n",
            each=MANY // 1000,
        )
        store.execute(
            "INSERT INTO order_lines (id, orderid, sku, lineid, qty, batchref, cancelled, sequence, shipped, ended_at) "
            "SELECT gen_random_uuid(), 'o-' || n, 'SKU-' || n % 1000, '', 1, 'b-' || n % 1000, false, 2, true, now() "
            "FROM generate_series(1, :count) AS n",
            count=MANY,
        )
        store.execute("ANALYZE order_lines, batches, products")
        yield store
        store.execute("TRUNCATE products, batches, order_lines, inbox_entries, outbox_pages")

    def test_a_look_reads_its_pages_only(self, full: PostgresStore) -> None:
        lines, _ = tables(full)
        now = PostgresPruneTimes(full.engine).server_time()
        scans, blocks = explained(
            full, lines.find, first="(0,0)", after=f"({LINES_PAGES_AT_A_TIME},0)", before=now - lines.keep
        )
        assert {scan["Node Type"] for scan in scans} == {"Tid Range Scan"}
        assert blocks <= LINES_PAGES_AT_A_TIME

    def test_a_step_deletes_rows_of_its_pages_without_reading_others(self, full: PostgresStore) -> None:
        lines, _ = tables(full)
        now = PostgresPruneTimes(full.engine).server_time()
        scans, _ = explained(
            full,
            lines.delete,
            first="(0,0)",
            after="(1,0)",
            before=now + timedelta(days=1),
            skus=array([f"SKU-{number}" for number in range(1000)]),
        )
        assert {scan["Node Type"] for scan in scans if scan["Relation Name"] == "order_lines"} == {"Tid Range Scan"}

    def test_many_go_and_their_batches_count_them(self, full: PostgresStore) -> None:
        lines, batches = tables(full)
        assert prune(full, lines) == MANY
        assert len(full.rows("SELECT FROM batches WHERE pruned = shipped")) == 1000
        assert prune(full, batches, days=0) == 0
        age(full, "batches")
        assert prune(full, batches, days=0) == 1000
