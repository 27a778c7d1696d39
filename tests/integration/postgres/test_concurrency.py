"""Two workers share one database."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from allocation_worker.adapters.postgres.unit_of_work import PostgresUnitOfWork
from allocation_worker.domain.commands import ChangeBatchQuantity, Deallocate
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports import Receipt, StoreError, StoreUnavailableError, UnitOfWork
from tests.fakes.messages import message
from tests.integration.postgres.staging import (
    DEADLINE,
    backend_of,
    create,
    order,
    process,
    terminate,
    until_blocked,
)
from tests.integration.postgres.store import PostgresStore

ROUNDS = 25


def race(*runners: Callable[[], Any]) -> None:
    """Start all at once; raise what any of them raised."""
    barrier = Barrier(len(runners), timeout=DEADLINE)

    def start_together(runner: Callable[[], Any]) -> None:
        barrier.wait()
        runner()

    with ThreadPoolExecutor(len(runners)) as pool:
        for future in [pool.submit(start_together, runner) for runner in runners]:
            future.result(timeout=DEADLINE)


def check_the_books(store: PostgresStore) -> None:
    """Every batch within its limits and accounted for; every SKU's sequence without a gap."""
    oversold = store.rows("""
        SELECT * FROM batches LEFT JOIN
            (SELECT batchref, sum(qty) AS held FROM order_lines GROUP BY batchref) AS lines ON batchref = reference
        WHERE allocated <> coalesce(held, 0) + pruned OR allocated NOT BETWEEN 0 AND purchased
    """)
    assert oversold == []
    in_disorder = store.rows("""
        SELECT * FROM (SELECT sku, sequence, row_number() OVER (PARTITION BY sku ORDER BY id) AS place FROM events
                       WHERE sku IS NOT NULL) AS numbered
        WHERE sequence <> place
    """)
    assert in_disorder == []
    miscounted = store.rows("""
        SELECT * FROM products WHERE sequence <> (SELECT count(*) FROM events WHERE events.sku = products.sku)
    """)
    assert miscounted == []


def test_the_database_itself_forbids_overselling(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("b", 10)))
    for statement in ("SET allocated = 11", "SET allocated = -1", "SET purchased = -1"):
        with pytest.raises(StoreError, match="never_oversold"):
            store.execute(f"UPDATE batches {statement}")


def test_two_workers_after_one_sku_never_oversell_it(store: PostgresStore) -> None:
    for number in range(ROUNDS):
        sku = f"SKU-{number}"
        process(store.unit_of_work, message(create(f"one-{number}", 10, sku)), message(create(f"two-{number}", 3, sku)))

        def fight(side: str, sku: str = sku) -> Callable[[], object]:
            group = [message(order(f"{side}{line}", 1 + line % 3, sku)) for line in range(6)]
            return lambda: process(store.unit_of_work, *group)

        race(fight("left"), fight("right"))
    check_the_books(store)
    assert {event.type for event in store.published()} == {"batch-created.v1", "allocated.v1", "out-of-stock.v1"}


def test_orders_against_a_shrinking_batch_never_oversell_it(store: PostgresStore) -> None:
    """The other way to load a product: by a batch."""
    for number in range(ROUNDS):
        sku, batchref = f"SKU-{number}", f"batch-{number}"
        process(store.unit_of_work, message(create(batchref, 10, sku)), message(order("before", 4, sku)))
        orders = [message(order(f"o{line}", 2, sku)) for line in range(4)]
        changes = [message(ChangeBatchQuantity(batchref=batchref, qty=qty)) for qty in (3, 7, 5)]
        race(
            partial(process, store.unit_of_work, *orders),
            partial(process, store.unit_of_work, *changes),
        )
    check_the_books(store)


def test_groups_that_name_the_same_skus_in_opposite_order_do_not_block_each_other(store: PostgresStore) -> None:
    skus = [f"SKU-{number}" for number in range(6)]
    process(store.unit_of_work, *(message(create(f"batch-{sku}", 1000, sku)) for sku in skus))
    for number in range(ROUNDS):
        forth = [message(order(f"forth-{number}", 1, sku)) for sku in skus]
        back = [message(order(f"back-{number}", 1, sku)) for sku in reversed(skus)]
        race(
            partial(process, store.unit_of_work, *forth),
            partial(process, store.unit_of_work, *back),
        )
    check_the_books(store)
    assert {allocated for _, allocated in store.stock().values()} == {2 * ROUNDS}


def test_groups_that_bring_the_same_skus_in_opposite_order_do_not_block_each_other(store: PostgresStore) -> None:
    """Each waits for the products that the other has written, so all write them in one order."""
    deadlocks = "SELECT pg_stat_get_db_deadlocks(oid) AS count FROM pg_database WHERE datname = current_database()"
    before = store.rows(deadlocks)
    for number in range(ROUNDS):
        skus = [f"SKU-{number}-{each}" for each in range(90)]
        forth = [message(Deallocate(orderid="forth", sku=sku)) for sku in skus]
        back = [message(Deallocate(orderid="back", sku=sku)) for sku in reversed(skus)]
        race(
            partial(process, store.unit_of_work, *forth),
            partial(process, store.unit_of_work, *back),
        )
    check_the_books(store)
    assert store.rows(deadlocks) == before


def test_a_sku_created_by_two_workers_at_once_is_one_sku(store: PostgresStore) -> None:
    for number in range(ROUNDS):
        sku = f"SKU-{number}"
        stock = message(create(f"batch-{number}", 5, sku))
        cancellation = message(Deallocate(orderid="o", sku=sku))
        race(
            partial(process, store.unit_of_work, stock),
            partial(process, store.unit_of_work, cancellation),
        )
    check_the_books(store)
    assert len(store.published()) == 2 * ROUNDS


def test_the_same_messages_given_to_two_workers_have_one_effect(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("b", 1000)))
    for number in range(ROUNDS):
        group = [message(order(f"{number}-{line}"), f"{number}-{line}") for line in range(5)]
        race(
            partial(process, store.unit_of_work, *group),
            partial(process, store.unit_of_work, *reversed(group)),
        )
    check_the_books(store)
    assert store.stock() == {"b": (1000, 5 * ROUNDS)}


class TestOneMessageInTwoTransactions:
    """The second waits for the first to end, and only then says what the message is."""

    @pytest.mark.parametrize(
        ("committed", "expected"), [(True, Receipt.REPEAT), (False, Receipt.FRESH)], ids=["commit", "rollback"]
    )
    def test_the_second_learns_how_the_first_ended(
        self,
        store: PostgresStore,
        committed: bool,  # noqa: FBT001
        expected: Receipt,
    ) -> None:
        received = message(order("o"))
        with ThreadPoolExecutor(1) as pool, store.unit_of_work() as first, store.unit_of_work() as second:
            assert first.inbox.receive([received]) == [Receipt.FRESH]
            pid = backend_of(second._connection)
            answer = pool.submit(second.inbox.receive, [received])
            until_blocked(store.engine, pid)
            assert not answer.done()
            if committed:
                first.commit()
            else:
                first._connection.rollback()
            assert answer.result(timeout=DEADLINE) == [expected]

    def test_another_message_under_the_id_waits_too(self, store: PostgresStore) -> None:
        with ThreadPoolExecutor(1) as pool, store.unit_of_work() as first, store.unit_of_work() as second:
            first.inbox.receive([message(order("o"), "m")])
            pid = backend_of(second._connection)
            answer = pool.submit(second.inbox.receive, [message(order("another"), "m")])
            until_blocked(store.engine, pid)
            first.commit()
            assert answer.result(timeout=DEADLINE) == [Receipt.CONFLICT]


class TestTheOtherTransactionCommitsInBetween:
    """Between two statements of ours, another transaction creates what the first of them did not find."""

    def process_interrupted(
        self, store: PostgresStore, before: str, interruption: CommandMessage, *messages: CommandMessage
    ) -> list[str]:
        """Run the interruption just before our first statement that has these words in it."""
        interruptions = [interruption]

        def interrupt(*arguments: Any) -> None:
            if interruptions and before in arguments[2]:
                assert process(store.unit_of_work, interruptions.pop()) == [Done()]

        sa.event.listen(store.engine, "before_cursor_execute", interrupt)
        try:
            assert process(store.unit_of_work, *messages) == [Done()] * len(messages)
        finally:
            sa.event.remove(store.engine, "before_cursor_execute", interrupt)
        assert not interruptions
        check_the_books(store)
        return [event.type for event in store.published()]

    def test_a_line_of_a_new_sku(self, store: PostgresStore) -> None:
        cancellation = message(Deallocate(orderid="o", sku="LAMP"))
        told = self.process_interrupted(store, "FROM order_lines", cancellation, message(order("o")))
        assert told == ["deallocated.v1", "command-rejected.v1"]

    def test_a_batch_of_a_new_sku(self, store: PostgresStore) -> None:
        change = message(ChangeBatchQuantity(batchref="b", qty=3))
        told = self.process_interrupted(store, "FROM batches\n    WHERE in_stock", message(create("b", 10)), change)
        assert told == ["batch-created.v1", "batch-quantity-changed.v1"]

    def test_the_same_batch_for_another_sku(self, store: PostgresStore) -> None:
        process(store.unit_of_work, message(create("v", 10, "VASE")))
        told = self.process_interrupted(
            store, "FROM products", message(create("b", 10, "VASE")), message(create("b", 10))
        )
        assert told == ["batch-created.v1", "batch-created.v1", "command-rejected.v1"]

    def test_the_same_new_sku(self, store: PostgresStore) -> None:
        told = self.process_interrupted(
            store, "INSERT INTO products", message(create("b", 10)), message(create("c", 1))
        )
        assert told == ["batch-created.v1", "batch-created.v1"]


class TestACommitWhoseOutcomeIsUnknown:
    """The connection dies around COMMIT; asked again, the inbox tells."""

    def process_through(self, store: PostgresStore, treacherous: type["DiesOnce"], *messages: CommandMessage) -> None:
        process(store.unit_of_work, message(create("b", 10)))
        treacherous.dead = False
        with pytest.raises(StoreUnavailableError):
            process(lambda: treacherous(store.engine), *messages)

    def test_it_did_not_take_place(self, store: PostgresStore) -> None:
        messages = [message(order("1")), message(order("2"))]
        self.process_through(store, DiesBeforeCommit, *messages)
        assert store.stock() == {"b": (10, 0)}
        assert process(store.unit_of_work, *messages) == [Done(), Done()]
        assert store.stock() == {"b": (10, 2)}

    def test_it_did_take_place(self, store: PostgresStore) -> None:
        messages = [message(order("1")), message(order("2"))]
        self.process_through(store, DiesAfterCommit, *messages)
        assert store.stock() == {"b": (10, 2)}
        assert process(store.unit_of_work, *messages) == [Done(), Done()]
        assert store.stock() == {"b": (10, 2)}
        assert len(store.published()) == 3


class DiesOnce(PostgresUnitOfWork):
    dead = False


class DiesBeforeCommit(DiesOnce):
    def commit(self) -> None:
        terminate(self._engine, backend_of(self._connection))
        super().commit()


class DiesAfterCommit(DiesOnce):
    def commit(self) -> None:
        super().commit()
        raise StoreUnavailableError("the answer to COMMIT never came")


def test_a_group_that_waits_for_another_sees_what_that_one_did(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("b", 1)))

    def handle(uow: UnitOfWork, orderid: str) -> None:
        product = uow.products.get("LAMP", (orderid, ""))
        assert product
        product.allocate((orderid, ""), 1)
        uow.commit()

    with ThreadPoolExecutor(1) as pool, store.unit_of_work() as first, store.unit_of_work() as second:
        first.products.get("LAMP")
        pid = backend_of(second._connection)
        waiting = pool.submit(handle, second, "second")
        until_blocked(store.engine, pid)
        handle(first, "first")
        waiting.result(timeout=DEADLINE)
    assert store.stock() == {"b": (1, 1)}
    assert store.lines() == {("first", "LAMP", "", 1, "b", False), ("second", "LAMP", "", 1, None, False)}
