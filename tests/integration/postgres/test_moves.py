"""What stands in the tables of revision 0001 is moved: nothing is lost, doubled, changed or reordered."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters.postgres import moves
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.migrate import SCRIPTS, migrate
from allocation_worker.adapters.postgres.page import EVENTS_A_PAGE
from allocation_worker.adapters.postgres.relay import open_pending
from allocation_worker.adapters.postgres.schema import REVISION
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import StoreContentionError

SKUS = 20

PRODUCTS = """
INSERT INTO products SELECT 'SKU-' || n, md5('stream' || n)::uuid, 0, 0 FROM generate_series(0, :skus - 1) AS n
"""
# Rows as they stand after a while: the last fifth waits, with some rows before it whose mark came late; every
# fiftieth event has a type that nobody wants, and the ids of rolled back transactions are missing.
ROWS = """
INSERT INTO outbox (message_id, type, sku, sequence, body, correlation_id, causation_id, traceparent, repeated,
    created_at, published_at, returned_at)
OVERRIDING SYSTEM VALUE
SELECT md5('event' || n)::uuid, type, sku, sequence,
    json_build_object('orderid', 'o' || n, 'sku', sku, 'lineid', '', 'qty', 1, 'sequence', sequence)::text,
    CASE WHEN n % 3 = 0 THEN 'talk' ELSE 'm' || n END, 'm' || n, CASE n % 5 WHEN 0 THEN 'trace' WHEN 1 THEN '' END,
    n % 97 = 0, now() - interval '1 day' + n * interval '20.000001 milliseconds',
    CASE WHEN type <> 'deallocated.v1' AND NOT waits THEN now() END, CASE WHEN type = 'deallocated.v1' THEN now() END
FROM generate_series(1, :rows) AS n,
    LATERAL (SELECT 'SKU-' || n % :skus, 1 + n / :skus,
        CASE WHEN n % 50 = 7 THEN 'deallocated.v1' ELSE 'allocated.v1' END,
        n > :rows * 0.8 OR n > :rows * 0.79 AND n % 4 = 0) AS _ (sku, sequence, type, waits)
"""
RECEIPTS = """
INSERT INTO inbox (message_id, fingerprint, received_at, deliveries)
SELECT 'm' || n, sha256(CAST('body' || n AS bytea)), now() - interval '1 day', 1 + n % 2
FROM generate_series(1, :rows) AS n
"""
AS_IT_WAS = """
SELECT message_id, type, sku, sequence, body, correlation_id, causation_id, traceparent, repeated, created_at
FROM {table} ORDER BY id
"""


@pytest.fixture
def bare(database_url: str) -> Iterator[Engine]:
    """A database at revision 0001. As in `bootstrap.migrate`, nothing limits how long a statement waits.

    The build of an index waits for every transaction under way, such as an ANALYZE of a million rows by autovacuum.
    """
    engine = create_engine(database_url, application_name="tests", statement_timeout=None, lock_timeout=0, pool_size=8)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = connection
        config.attributes["version_table"] = "alembic_version"
        command.upgrade(config, "0001")
    yield engine
    engine.dispose()


def fill(engine: Engine, rows: int) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(PRODUCTS), {"skus": SKUS})
        connection.execute(sa.text(ROWS), {"rows": rows, "skus": SKUS})
        connection.execute(sa.text("DELETE FROM outbox WHERE id % 211 = 0"))
        connection.execute(sa.text(RECEIPTS), {"rows": rows})
        connection.execute(
            sa.text(
                "UPDATE products SET sequence = last FROM (SELECT sku, max(sequence) AS last FROM outbox "
                "GROUP BY sku) AS counted WHERE counted.sku = products.sku"
            )
        )


def rows_of(engine: Engine, statement: str) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.execute(sa.text(statement)))


def pending(engine: Engine) -> list[OutgoingEvent]:
    """All that a relay would publish, in its order."""
    found: list[OutgoingEvent] = []
    taken: list[int] = []
    with open_pending(engine, lease=30) as session:
        while pages := session.fetch(1000, taken):
            taken += [page.id for page in pages]
            found += [event for page in pages for event in page.events]
    return found


def sizes(engine: Engine) -> list[int]:
    return [row.count for row in rows_of(engine, "SELECT count AS count FROM outbox_pages ORDER BY id")]


@pytest.mark.parametrize("at_a_time", [100, 1_000, 10_000])
@pytest.mark.parametrize("page", [10, 1000])
def test_all_is_moved_as_it_was(bare: Engine, at_a_time: int, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "ROWS_AT_A_TIME", at_a_time)
    if page != EVENTS_A_PAGE:
        narrow = {
            name: sa.text(getattr(moves, name).text.replace("/ 1000 AS full", f"/ {page} AS full"))
            for name in ("MOVE_PENDING", "MOVE_PUBLISHED")
        }
        for name, statement in narrow.items():
            monkeypatch.setattr(moves, name, statement)
    check_move(bare, rows=5_000)
    assert max(sizes(bare)) <= page


def check_move(engine: Engine, rows: int) -> None:
    fill(engine, rows)
    before = rows_of(engine, AS_IT_WAS.format(table="outbox"))
    waiting = rows_of(
        engine,
        "SELECT message_id::text, extract(epoch FROM created_at)::bigint FROM outbox "
        "WHERE published_at IS NULL AND returned_at IS NULL ORDER BY id",
    )
    unrouted = rows_of(engine, "SELECT message_id::text FROM outbox WHERE returned_at IS NOT NULL ORDER BY id")
    receipts = rows_of(
        engine,
        "SELECT inbox_key, received_at, deliveries, fingerprint FROM inbox, LATERAL "
        "(SELECT encode(substring(sha256(convert_to(message_id, 'UTF8')) FROM 1 FOR 16), 'hex')) "
        "AS _ (inbox_key) ORDER BY 1",
    )
    assert migrate(engine) == ("0001", REVISION)
    assert rows_of(engine, AS_IT_WAS.format(table="events")) == before
    assert [(event.message_id, event.timestamp) for event in pending(engine)] == waiting
    with open_pending(engine, lease=30) as session:
        kept = session.fetch_unrouted(["deallocated.v1"], rows, 0)
    assert [(event.message_id,) for event in kept] == unrouted
    assert (
        rows_of(
            engine,
            "SELECT encode(uuid_send(key), 'hex'), received_at, deliveries, fingerprint FROM inbox_entries ORDER BY 1",
        )
        == receipts
    )
    assert rows_of(engine, "SELECT FROM outbox") == rows_of(engine, "SELECT FROM inbox") == []


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_million_rows_are_moved(bare: Engine) -> None:
    check_move(bare, rows=1_000_000)


def test_before_the_history_is_moved_it_is_seen_in_its_rows(bare: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "move_history", lambda _engine: None)
    fill(bare, 1_000)
    before = rows_of(bare, AS_IT_WAS.format(table="outbox"))
    waiting = len(pending_rows(bare))
    migrate(bare)
    assert rows_of(bare, AS_IT_WAS.format(table="events")) == before
    assert len(pending(bare)) == waiting
    monkeypatch.undo()
    assert migrate(bare) == (REVISION, REVISION)
    assert rows_of(bare, AS_IT_WAS.format(table="events")) == before
    assert rows_of(bare, "SELECT FROM outbox") == []


def pending_rows(engine: Engine) -> Sequence[Any]:
    return rows_of(engine, "SELECT FROM outbox WHERE published_at IS NULL AND returned_at IS NULL")


def test_a_migration_that_was_interrupted_goes_on(bare: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "ROWS_AT_A_TIME", 100)
    fill(bare, 2_000)
    before = rows_of(bare, AS_IT_WAS.format(table="outbox"))
    really = moves._move_some
    left = iter(range(13))

    def interrupted(connection: Connection, statement: sa.TextClause, after: int | str) -> tuple[int, int | str]:
        next(left)
        return really(connection, statement, after)

    monkeypatch.setattr(moves, "_move_some", interrupted)
    with pytest.raises(StopIteration):
        migrate(bare)
    monkeypatch.setattr(moves, "_move_some", really)
    migrate(bare)
    assert rows_of(bare, AS_IT_WAS.format(table="events")) == before


def test_contention_is_waited_for(bare: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bare, 100)
    really = moves._move_some
    fails = iter([True, False, True])

    def contended(connection: Connection, statement: sa.TextClause, after: int | str) -> tuple[int, int | str]:
        moved = really(connection, statement, after)
        if next(fails, False):
            raise StoreContentionError("deadlock detected")
        return moved

    monkeypatch.setattr(moves, "_move_some", contended)
    before = rows_of(bare, AS_IT_WAS.format(table="outbox"))
    migrate(bare)
    assert rows_of(bare, AS_IT_WAS.format(table="events")) == before
