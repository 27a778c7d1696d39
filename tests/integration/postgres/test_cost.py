"""The cost of a group does not grow with its size or with the history."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from sqlalchemy import TextClause

from allocation_worker.adapters.postgres import rows as stored
from allocation_worker.adapters.postgres import statements
from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.holds import DUE_HOLDS
from allocation_worker.adapters.postgres.relay import OLDEST_UNROUTED
from allocation_worker.adapters.postgres.rows import Rows, line_uuid
from allocation_worker.adapters.postgres.show import QUEUE
from allocation_worker.adapters.postgres.status import LINES
from allocation_worker.adapters.postgres.unit_of_work import Optimism
from allocation_worker.adapters.wire import EVENT_TYPES
from allocation_worker.domain import model
from allocation_worker.domain.commands import ChangeBatchEta, ChangeBatchQuantity, Command, Deallocate, Hold
from allocation_worker.domain.model import AT_A_TIME, FIRST_SERVED
from allocation_worker.service_layer import handlers
from allocation_worker.service_layer.lapse import LONG_QUEUE
from allocation_worker.service_layer.outcomes import Done
from tests.fakes.messages import message
from tests.integration.postgres.staging import BUS, counting, create, order, process
from tests.integration.postgres.store import PostgresStore

USED_UP = 10_000
WAITING = 2_500
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def count(store: PostgresStore, *commands: Command) -> int:
    messages = [message(command) for command in commands]
    with counting(store.engine) as sent:
        assert process(store.unit_of_work, *messages) == [Done()] * len(messages)
    return len(sent)


def explain(store: PostgresStore, statement: TextClause, **parameters: object) -> tuple[set[str], int]:
    """The indexes used, and how many rows were read, those thrown away included."""
    with store.engine.begin() as connection:
        explained = sa.text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}")
        (plan,) = connection.execute(explained, parameters).scalar_one()
    indexes: set[str] = set()
    rows = 0
    nodes = [plan["Plan"]]
    while nodes:
        node = nodes.pop()
        assert node["Node Type"] != "Seq Scan" or node["Relation Name"] == "products", node
        indexes |= {node["Index Name"]} if "Index Name" in node else set()
        if "Relation Name" in node:
            rows += node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        nodes += node.get("Plans", [])
    return indexes, rows


class TestStatements:
    @pytest.mark.parametrize("size", [1, 5, 99])
    def test_allocating_takes_five(self, store: PostgresStore, size: int) -> None:
        """Inbox; lock, lines, batches; all writes at once."""
        assert self.count_of_allocating(store, size) == 5

    @pytest.mark.parametrize("size", [100, 1000])
    def test_allocating_many_takes_seven(self, store: PostgresStore, size: int) -> None:
        """The lines are copied, between the writes before them and those after."""
        assert self.count_of_allocating(store, size) == 7

    @pytest.mark.parametrize(("size", "statements"), [(1, 3), (5, 3), (99, 3), (1000, 6)])
    def test_allocating_takes_two_fewer_once_all_was_new(
        self, store: PostgresStore, size: int, statements: int
    ) -> None:
        """Inbox and lock, batches, all writes; many rows are copied, which takes a statement of its own."""
        store.optimism = Optimism()
        assert self.count_of_allocating(store, size) == statements

    def count_of_allocating(self, store: PostgresStore, size: int) -> int:
        skus = [f"SKU-{number % 50}" for number in range(size)]
        process(store.unit_of_work, *(message(create(f"batch-{sku}", 1000, sku)) for sku in sorted(set(skus))))
        return count(store, *(order(f"o{number}", 1, sku) for number, sku in enumerate(skus)))

    @pytest.mark.parametrize("size", [1, 5, 200])
    def test_cancelling_takes_five(self, store: PostgresStore, size: int) -> None:
        orders = [order(f"o{number}") for number in range(size)]
        process(store.unit_of_work, message(create("b", 1000)), *map(message, orders))
        assert count(store, *(Deallocate(orderid=each.orderid, sku=each.sku) for each in orders)) == 5

    @pytest.mark.parametrize("size", [1, 5, 99])
    def test_creating_batches_takes_six_where_products_are_new(self, store: PostgresStore, size: int) -> None:
        """Inbox; references, lock, batches; where new products begin; all writes at once."""
        assert count(store, *(create(f"b{number}", 1, f"SKU-{number}") for number in range(size))) == 6

    @pytest.mark.parametrize("size", [1, 5, 200])
    def test_growing_batches_takes_five(self, store: PostgresStore, size: int) -> None:
        process(store.unit_of_work, *(message(create(f"b{number}", 1, f"SKU-{number}")) for number in range(size)))
        assert count(store, *(ChangeBatchQuantity(batchref=f"b{number}", qty=2) for number in range(size))) == 5

    @pytest.mark.parametrize(("lines", "statements"), [(1, 6), (30, 6), (31, 7), (400, 7)])
    def test_shrinking_a_batch_takes_six_or_seven(self, store: PostgresStore, lines: int, statements: int) -> None:
        """As growing, with the lines read besides: a few of them, then all others."""
        process(store.unit_of_work, message(create("b", 1000)), *(message(order(f"o{n}")) for n in range(lines)))
        assert count(store, ChangeBatchQuantity(batchref="b", qty=0)) == statements

    def test_shrinking_several_products_writes_their_lines_together(self, store: PostgresStore) -> None:
        """Each reads its lines; none has changed any line of another."""
        skus = ["LAMP", "VASE", "CHAIR"]
        process(store.unit_of_work, *(message(create(f"b-{sku}", 10, sku)) for sku in skus))
        process(store.unit_of_work, *(message(order(f"o-{sku}", 1, sku)) for sku in skus))
        assert count(store, *(ChangeBatchQuantity(batchref=f"b-{sku}", qty=0) for sku in skus)) == 5 + len(skus)

    @pytest.mark.parametrize("size", [1, 5, 200])
    def test_rejecting_unknown_skus_takes_five(self, store: PostgresStore, size: int) -> None:
        assert count(store, *(order(f"o{number}", 1, f"SKU-{number}") for number in range(size))) == 5

    @pytest.mark.parametrize("size", [1, 5, 200])
    def test_repeats_take_one(self, store: PostgresStore, size: int) -> None:
        process(store.unit_of_work, message(create("b", 1000)))
        messages = [message(order(f"o{number}")) for number in range(size)]
        process(store.unit_of_work, *messages)
        with counting(store.engine) as sent:
            process(store.unit_of_work, *messages)
        assert len(sent) == 1


class TestQueue:
    """What a batch costs while lines wait."""

    @pytest.fixture
    def waiting(self, store: PostgresStore) -> PostgresStore:
        """Lines that wait for 10 each."""
        process(store.unit_of_work, message(create("b", 1)), message(order("o")))
        process(store.unit_of_work, *(message(replace(order(f"w{n}", 10), wait=True)) for n in range(WAITING)))
        return store

    def test_a_batch_that_is_too_small_for_all_of_them_reads_none(self, waiting: PostgresStore) -> None:
        assert self.reads_of(waiting, create("small", 9)) == 0

    def test_a_batch_for_one_of_them_reads_one_page(self, waiting: PostgresStore) -> None:
        assert self.reads_of(waiting, create("small", 5), create("right", 10)) == 1
        assert waiting.stock()["right"] == (10, 10)

    def test_an_allocation_reads_none(self, waiting: PostgresStore) -> None:
        assert self.reads_of(waiting, replace(order("another", 10), wait=True), order("one-more", 3)) == 0

    def test_a_batch_for_all_of_them_keeps_a_page_in_memory(self, waiting: PostgresStore) -> None:
        with waiting.unit_of_work() as uow:
            BUS.handle(message(create("large", 10 * WAITING)), uow)
            product = uow.products.get("LAMP")
            assert product
            assert len(product.lines) <= AT_A_TIME
            uow.commit()
        assert waiting.stock()["large"] == (10 * WAITING, 10 * WAITING)

    def test_an_eta_of_a_batch_with_many_lines_keeps_a_page_in_memory(self, store: PostgresStore) -> None:
        process(store.unit_of_work, message(replace(create("ship", WAITING), eta=date(2031, 1, 1))))
        process(store.unit_of_work, *(message(order(f"o{n}")) for n in range(WAITING)))
        with store.unit_of_work() as uow:
            BUS.handle(message(ChangeBatchEta(batchref="ship", eta=None)), uow)
            product = uow.products.get("LAMP")
            assert product
            assert len(product.lines) <= AT_A_TIME
            uow.commit()
        assert [event.type for event in store.published()].count("promise-changed.v1") == WAITING

    def test_a_line_is_looked_at_as_often_whatever_the_number_of_pages(
        self, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        day = date(2031, 1, 1)
        process(store.unit_of_work, message(replace(create("ship", WAITING), eta=day)))
        process(store.unit_of_work, *(message(replace(order(f"o{n}"), needed_by=day)) for n in range(WAITING)))
        for module in (model, handlers):
            monkeypatch.setattr(module, "AT_A_TIME", 50)
        with patch.object(stored, "_line_values", wraps=stored._line_values) as looked:
            process(store.unit_of_work, message(ChangeBatchEta(batchref="ship", eta=day + timedelta(days=1))))
        assert store.stock() == {"ship": (WAITING, 0)}
        assert looked.call_count == 3 * WAITING

    def test_few_lines_are_read_for_what_is_mostly_for_one(self, waiting: PostgresStore) -> None:
        with waiting.unit_of_work() as uow, patch.object(Rows, "line", autospec=True, side_effect=Rows.line) as read:
            BUS.handle(message(create("for-one", 10)), uow)
            uow.commit()
        assert read.call_count == FIRST_SERVED
        assert waiting.stock()["for-one"] == (10, 10)

    def test_those_that_wait_are_found_by_their_own_index(self, waiting: PostgresStore) -> None:
        waiting.execute("ANALYZE order_lines")
        indexes, rows = explain(
            waiting, statements.WAITING_LINES, sku="LAMP", urgency=-100, place=0, at_most=10, limit=5
        )
        assert indexes == {"waiting_lines_in_turn"}
        assert rows <= 5

    def test_those_that_are_too_large_are_passed_over_without_being_read(self, waiting: PostgresStore) -> None:
        waiting.execute("ANALYZE order_lines")
        indexes, rows = explain(
            waiting, statements.WAITING_LINES, sku="LAMP", urgency=-100, place=0, at_most=9, limit=AT_A_TIME
        )
        assert indexes == {"waiting_lines_in_turn"}
        assert rows == 0

    def test_the_first_of_those_that_wait_are_shown_by_their_index(self, waiting: PostgresStore) -> None:
        waiting.execute("ANALYZE order_lines")
        indexes, rows = explain(waiting, QUEUE, sku="LAMP", limit=5)
        assert indexes == {"waiting_lines_in_turn"}
        assert rows <= 5

    def reads_of(self, store: PostgresStore, *commands: Command) -> int:
        with counting(store.engine) as sent:
            process(store.unit_of_work, *(message(command) for command in commands))
        return sum("-priority" in statement for statement in sent)


class TestPlans:
    """Of a product with 10,000 batches that are used up and as many lines on them, only what is needed is read."""

    @pytest.fixture
    def crowded(self, store: PostgresStore) -> Iterator[PostgresStore]:
        process(store.unit_of_work, message(create("fresh", 10)), message(order("o", 1)))
        store.execute(
            "INSERT INTO batches (reference, sku, purchased, allocated, arrival, created_qty, sequence) "
            "SELECT 'used-' || n, 'LAMP', 7, 7, n + 1, 7, n FROM generate_series(1, :count) AS n",
            count=USED_UP,
        )
        store.execute(
            "INSERT INTO order_lines (id, orderid, sku, lineid, qty, batchref, cancelled, sequence) "
            "SELECT gen_random_uuid(), 'old-' || n, 'LAMP', '', 7, 'used-' || n, false, n "
            "FROM generate_series(1, :count) AS n",
            count=USED_UP,
        )
        store.execute("ANALYZE batches, order_lines, products")
        yield store
        store.execute("TRUNCATE products, batches, order_lines, inbox_entries, outbox_pages")

    def test_status_reads_only_lines_that_wait_or_are_held(self, crowded: PostgresStore) -> None:
        waiting = (message(replace(order(f"w{n}", 10), wait=True)) for n in range(5))
        held = (message(Hold(orderid=f"h{n}", sku="LAMP", qty=1, until=LONG_AGO)) for n in range(3))
        process(crowded.unit_of_work, *waiting, *held)
        crowded.execute("ANALYZE order_lines")
        indexes, rows = explain(crowded, LINES)
        assert indexes <= {"waiting_lines_in_turn", "waiting_lines_by_time", "held_lines", "held_lines_of_batch"}
        assert rows <= 5 + 5 + 3 + 3

    def test_batches_in_stock_are_found_by_their_own_index(self, crowded: PostgresStore) -> None:
        indexes, rows = explain(crowded, statements.BATCHES, skus=array(["LAMP"]), refs=array(["used-5", "used-6"]))
        assert indexes == {"batches_in_stock", "batches_pkey"}
        assert rows <= 4

    def test_lines_are_found_by_their_key(self, crowded: PostgresStore) -> None:
        indexes, rows = explain(crowded, statements.LINES, ids=array([line_uuid(("LAMP", ("o", "")))]))
        assert indexes == {"order_lines_pkey"}
        assert rows == 1

    def test_lines_of_a_batch_are_found_by_their_own_index(self, crowded: PostgresStore) -> None:
        indexes, rows = explain(crowded, statements.LINES_OF_BATCH, batchref="used-5", before=2**63 - 1, limit=1000)
        assert indexes == {"unshipped_lines_of_batch"}
        assert rows == 1

    def test_the_skus_of_batches_are_found_by_their_key(self, crowded: PostgresStore) -> None:
        indexes, rows = explain(crowded, statements.SKUS_OF_BATCHES, refs=array(["used-5", "nothing"]))
        assert indexes == {"batches_pkey"}
        assert rows == 1

    def test_a_command_takes_up_only_what_is_in_stock_or_named(self, crowded: PostgresStore) -> None:
        with crowded.unit_of_work() as uow:
            uow.products.lock_for([order("old-7", 7), order("new"), ChangeBatchQuantity(batchref="used-9", qty=1)])
            product = uow.products.get("LAMP", ("old-7", ""))
            assert product
            assert product.batches.keys() <= {"fresh", "used-7", "used-9"}
            assert product.lines.keys() == {("old-7", ""), ("new", "")}


class TestPlansOfNewLines:
    """Very many lines have just come, and the database knows nothing of them yet."""

    @pytest.fixture
    def new_lines(self, store: PostgresStore) -> Iterator[PostgresStore]:
        store.execute("ALTER TABLE order_lines SET (autovacuum_enabled = off)")
        process(store.unit_of_work, message(create("b", 3)), message(order("o", 1)))
        store.execute("ANALYZE order_lines")
        for columns, values in (
            ("batchref", "'b'"),
            ("wait, priority", "true, 0"),
            ("batchref, held_until, held_by", "'b', now() - interval '1 minute', E'm\\nm'"),
        ):
            store.execute(
                f"INSERT INTO order_lines (id, orderid, sku, lineid, qty, cancelled, sequence, {columns}) "  # noqa: S608 - constants
                f"SELECT gen_random_uuid(), 'new-' || n, 'LAMP', '', 7, false, n, {values} "
                "FROM generate_series(1, :count) AS n",
                count=USED_UP,
            )
        yield store
        store.execute("TRUNCATE products, batches, order_lines, inbox_entries, outbox_pages")
        store.execute("ALTER TABLE order_lines RESET (autovacuum_enabled)")

    def test_those_that_wait_are_found_by_their_own_index(self, new_lines: PostgresStore) -> None:
        indexes, rows = explain(
            new_lines, statements.WAITING_LINES, sku="LAMP", urgency=0, place=500, at_most=7, limit=AT_A_TIME
        )
        assert indexes == {"waiting_lines_in_turn"}
        assert rows == AT_A_TIME

    def test_lines_to_be_told_are_found_by_their_own_index(self, new_lines: PostgresStore) -> None:
        indexes, rows = explain(new_lines, statements.LINES_OF_BATCH_FORWARDS, batchref="b", after=500, limit=AT_A_TIME)
        assert indexes == {"unshipped_lines_of_batch"}
        assert rows == AT_A_TIME

    def test_held_lines_of_a_batch_are_found_by_their_own_index(self, new_lines: PostgresStore) -> None:
        indexes, rows = explain(new_lines, statements.HELD_LINES_OF_BATCH, batchref="b", before=500, limit=30)
        assert indexes == {"held_lines_of_batch"}
        assert rows == 30

    def test_holds_that_are_due_are_found_by_their_own_index(self, new_lines: PostgresStore) -> None:
        indexes, rows = explain(new_lines, DUE_HOLDS, besides=array(["VASE"]), limit=500)
        assert indexes == {"held_lines", "waiting_lines_in_turn"}
        assert rows == 500 + LONG_QUEUE


def test_the_oldest_unrouted_are_found_without_reading_the_others(store: PostgresStore) -> None:
    """A type that nobody wants is kept for a month."""
    [page] = store.write_pages(["deallocated.v1"])
    store.edit("INSERT INTO history SELECT history.* FROM history, generate_series(2, :count)", count=USED_UP // 10)
    store.edit("UPDATE history SET unrouted = true")
    store.execute("ANALYZE outbox_unrouted")
    with store.open_pending() as session:
        assert [event.id // 8192 for event in session.oldest_unrouted()] == [page]
    indexes, rows = explain(store, OLDEST_UNROUTED, types=array(EVENT_TYPES))
    assert indexes == {"outbox_unrouted_by_type"}
    assert rows <= 1
