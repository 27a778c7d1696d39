"""With ALLOCATION_LINES_DAYS, the relay deletes lines and batches after their end; stock is neither made nor lost."""

import json
from contextlib import closing

import psycopg2
import pytest

from allocation_contracts import Allocate, ChangeBatchQuantity, CreateBatch, Deallocate, Ship
from allocation_worker.testing.waiting import wait_until
from harness.processes import WorkerProcess, run_verb
from harness.service import RunningService

DAYS = {"ALLOCATION_LINES_DAYS": "30"}
MANY = 20_000


class Database:
    """The tables, as an operator sees them."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("+psycopg2", "")

    def execute(self, statement: str) -> None:
        with closing(psycopg2.connect(self._url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def column(self, query: str) -> list[object]:
        with closing(psycopg2.connect(self._url)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return [value for (value,) in cursor.fetchall()]

    def wait_for(self, query: str, *expected: object, relay: WorkerProcess) -> None:
        wait_until(
            lambda: self.column(query) == list(expected),
            within=30,
            otherwise=lambda: f"{query}: {self.column(query)}\n{relay.log[-3000:]}",
        )


@pytest.fixture
def database(fresh_service: RunningService) -> Database:
    return Database(fresh_service.database_url)


def pruning(service: RunningService) -> WorkerProcess:
    """Start the relay, so that it begins a round through each table."""
    relay = service.start("relay", settings=DAYS)
    relay.wait_for("ready")
    return relay


def test_ended_lines_and_batches_vanish_and_the_books_are_right(
    fresh_service: RunningService, database: Database
) -> None:
    fresh_service.start("consume").wait_for("ready")
    relay = pruning(fresh_service)
    with fresh_service.client() as client:
        for command in (
            CreateBatch(batchref="sold", sku="LAMP", qty=5),
            Allocate(orderid="shipped", sku="LAMP", qty=5),
            CreateBatch(batchref="shelf", sku="LAMP", qty=6),
            Allocate(orderid="sent", sku="LAMP", qty=2),
            Allocate(orderid="stays", sku="LAMP", qty=3),
            Allocate(orderid="waits", sku="LAMP", qty=4, wait=True),
            Deallocate(orderid="cancelled", sku="LAMP"),
            Ship(orderid="shipped", sku="LAMP"),
            Ship(orderid="sent", sku="LAMP"),
            Deallocate(orderid="cancelled", sku="LAMP"),
        ):
            client.ask(command)
        relay.terminate()
        database.execute("UPDATE order_lines SET ended_at = ended_at - interval '31 days'")
        relay = pruning(fresh_service)
        database.wait_for("SELECT orderid FROM order_lines ORDER BY orderid", "stays", "waits", relay=relay)
        relay.terminate()
        relay = pruning(fresh_service)
        database.wait_for("SELECT reference FROM batches WHERE ended_at IS NOT NULL", "sold", relay=relay)
        relay.terminate()
        database.execute("UPDATE batches SET ended_at = ended_at - interval '31 days'")
        relay = pruning(fresh_service)
        database.wait_for("SELECT reference FROM batches", "shelf", relay=relay)
        asked = [
            client.send(CreateBatch(batchref="sold", sku="LAMP", qty=7)),
            client.send(ChangeBatchQuantity(batchref="shelf", qty=1)),
            client.send(Ship(orderid="sent", sku="LAMP")),
        ]
        client.wait_answered(asked)
        assert [client.answers(name)[0].data["reason"] for name in asked] == [
            "batch-exists",
            "batch-shipped",
            "line-not-allocated",
        ]
        client.ask(CreateBatch(batchref="next", sku="LAMP", qty=4))  # for the line that waits
        assert fresh_service.judge(client).faults == []
    done = run_verb("verify", "--json", settings=fresh_service.settings)
    found = {fault["kind"] for fault in json.loads(done.stdout)["faults"]}
    assert found.isdisjoint({"allocated-miscounted", "shipped-miscounted", "batches-miscounted"})
    assert database.column("SELECT allocated FROM batches ORDER BY reference") == [4, 5]


def test_a_relay_that_is_killed_while_it_prunes_loses_no_count(
    fresh_service: RunningService, database: Database
) -> None:
    database.execute(f"""
        INSERT INTO products SELECT 'SKU-' || n, gen_random_uuid(), 100, 1 FROM generate_series(0, 99) AS n;
        INSERT INTO batches (reference, sku, purchased, allocated, shipped, arrival, created_qty, sequence)
        SELECT 'b-' || n, 'SKU-' || n, {MANY}, {MANY // 100}, {MANY // 100}, 1, {MANY}, 1
        FROM generate_series(0, 99) AS n;
        INSERT INTO order_lines (id, orderid, sku, lineid, qty, batchref, cancelled, sequence, shipped, ended_at)
        SELECT gen_random_uuid(), 'o-' || n, 'SKU-' || n % 100, '', 1, 'b-' || n % 100, false, 2, true,
            now() - interval '31 days' FROM generate_series(0, {MANY - 1}) AS n
    """)  # noqa: S608 - a number of our own
    miscounted = """
        SELECT reference FROM batches
        WHERE allocated <> pruned + (SELECT count(*) FROM order_lines WHERE batchref = reference)
    """
    left = [MANY]
    for _ in range(5):
        relay = fresh_service.start("relay", settings=DAYS)
        before = left[-1]
        wait_until(
            lambda before=before: database.column("SELECT count(*) FROM order_lines") < [before],  # type: ignore[misc]
            within=30,
            otherwise=lambda relay=relay: relay.log[-3000:],  # type: ignore[misc]
        )
        relay.kill()
        assert database.column(miscounted) == []
        [count] = database.column("SELECT count(*) FROM order_lines")
        assert isinstance(count, int)
        left.append(count)
        if not count:
            break
    relay = pruning(fresh_service)
    database.wait_for("SELECT count(*) FROM order_lines", 0, relay=relay)
    assert database.column(miscounted) == []
