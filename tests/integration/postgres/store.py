"""The real store, with the inspection methods of `tests.fakes.unit_of_work.FakeDatabase`."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters.postgres import page
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.inbox import inbox_key
from allocation_worker.adapters.postgres.migrate import migrate
from allocation_worker.adapters.postgres.page import StoredEvent
from allocation_worker.adapters.postgres.relay import PendingEvents, open_pending
from allocation_worker.adapters.postgres.restored import restored
from allocation_worker.adapters.postgres.show import open_lines
from allocation_worker.adapters.postgres.unit_of_work import Optimism, PostgresUnitOfWork
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.service_layer.ports.show import LinesNow
from tests.fakes.unit_of_work import Published
from tests.integration.postgres.staging import until

ACTIVE_RELAY = """
SELECT FROM pg_locks
 WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
TABLES = (
    "order_lines",
    "batches",
    "products",
    "inbox",
    "outbox",
    "inbox_entries",
    "outbox_pages",
    "outbox_unrouted",
    "restorations",
    "pruned_batches",
)
# What `edit` puts between the view `events` and the pages.
TAKE_APART = "CREATE TEMPORARY TABLE history ON COMMIT DROP AS SELECT *, id / 8192 AS page FROM events"
PUT_TOGETHER = r"""
    DELETE FROM outbox_pages;
    DELETE FROM outbox_unrouted;
    CREATE TEMPORARY TABLE lines ON COMMIT DROP AS
    SELECT *, concat_ws(E'\t', message_id, type, causation_id,
        CASE WHEN correlation_id = causation_id THEN '' ELSE correlation_id END,
        coalesce('=' || traceparent, ''), concat(CASE WHEN repeated THEN 'r' END, '=' || tracestate), '', body) AS line
    FROM history;
    INSERT INTO outbox_pages (id, created_at, published_at, count, events) OVERRIDING SYSTEM VALUE
    SELECT page, min(created_at), CASE WHEN bool_and(unrouted OR published_at IS NOT NULL) THEN now() END,
        count(*), string_agg(line, E'\n' ORDER BY id) FROM lines GROUP BY page;
    INSERT INTO outbox_unrouted (id, created_at, type, event)
    SELECT page * 8192 + rank() OVER (PARTITION BY page ORDER BY id) - 1, created_at, type, line
    FROM lines WHERE unrouted
"""


def migrated_engine(url: str) -> Engine:
    """An engine for a database that has the tables."""
    engine = create_engine(url, application_name="tests", pool_size=8)
    migrate(engine)
    return engine


def write_pages(connection: Connection, *pages: Sequence[str], product: str | None = None) -> list[int]:
    """Pages in a transaction of the test's own, given by the types of their events; their ids."""
    texts = [page.text([page.line(_event(type_)) for type_ in types]) for types in pages]
    inserted = connection.execute(
        sa.text(
            "INSERT INTO outbox_pages (count, events, product) "
            "SELECT *, :product FROM unnest(CAST(:counts AS integer[]), CAST(:texts AS text[])) RETURNING id"
        ),
        {"counts": [len(types) for types in pages], "texts": texts, "product": product},
    )
    return [row.id for row in inserted]


def _event(type_: str) -> StoredEvent:
    return StoredEvent(str(uuid4()), type_, "{}", "m", "c", None, repeated=False)


class PostgresStore:
    """The tables behind an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.optimism: Optimism | None = None

    def unit_of_work(self) -> PostgresUnitOfWork:
        return PostgresUnitOfWork(self.engine, self.optimism)

    def restored(self) -> int:
        """As after a restored backup: every product goes on from the sequence that is returned."""
        return restored(self.engine).sequence

    def open_pending(self) -> AbstractContextManager[PendingEvents]:
        return open_pending(self.engine, lease=30.0)

    def open_lines(self) -> AbstractContextManager[LinesNow]:
        return open_lines(self.engine)

    def write_pages(self, *pages: Sequence[str], product: str | None = None) -> list[int]:
        """Pages of events that nothing has caused, given by the types of their events; their ids."""
        with self.engine.begin() as connection:
            return write_pages(connection, *pages, product=product)

    def edit(self, statement: str, **parameters: object) -> None:
        """Change what is in the outbox: the statement is about a table `history` with the columns of `events`."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(TAKE_APART))
            connection.execute(sa.text(statement), parameters)
            connection.execute(sa.text(PUT_TOGETHER))

    def empty(self) -> None:
        """Leave no rows, and no relay: a backend keeps its lock until it notices that its client has gone."""
        # Ten times as fast as TRUNCATE, which makes new files.
        statement = "; ".join(f"DELETE FROM {table}" for table in TABLES)  # noqa: S608 - names of our own
        try:
            self.execute(statement)
        except (
            StoreUnavailableError
        ):  # outages are tested on the same server; after the first error the pool begins anew
            self.execute(statement)
        until(lambda: not self.rows(ACTIVE_RELAY))

    def published(self) -> list[Published]:
        rows = self.rows(
            "SELECT message_id::text AS message_id, type, sku, sequence, body, correlation_id, causation_id, "
            "traceparent, tracestate FROM events ORDER BY id"
        )
        return [Published(**{**row._asdict(), "body": json.loads(row.body)}) for row in rows]

    def taken(self, *_asked: str) -> set[str]:
        """Those of these message_ids that are in the inbox, and the keys of all others in it."""
        names = {inbox_key(message_id): message_id for message_id in _asked}
        keys = [row.key.hex for row in self.rows("SELECT key FROM inbox_entries")]
        return {names.get(key, key) for key in keys}

    def stock(self) -> dict[str, tuple[int, int]]:
        rows = self.rows("SELECT reference, purchased, allocated FROM batches")
        return {row.reference: (row.purchased, row.allocated) for row in rows}

    def lines(self) -> set[tuple[str, str, str, int, str | None, bool]]:
        rows = self.rows("""
            SELECT orderid, sku, lineid, qty, batchref, cancelled FROM order_lines WHERE coalesce(place, sequence) > 0
        """)
        return {(row.orderid, row.sku, row.lineid, row.qty, row.batchref, row.cancelled) for row in rows}

    def rows(self, statement: str, **parameters: object) -> list[sa.Row[tuple[object, ...]]]:
        with self.engine.begin() as connection:
            return list(connection.execute(sa.text(statement), parameters))

    def execute(self, statement: str, **parameters: object) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), parameters)
