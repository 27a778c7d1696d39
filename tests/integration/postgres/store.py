"""The real store, with the inspection methods of `tests.fakes.unit_of_work.FakeDatabase`."""

import json
from contextlib import AbstractContextManager

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.relay import PendingEvents, open_pending
from allocation_worker.adapters.postgres.schema import migrate
from allocation_worker.adapters.postgres.unit_of_work import PostgresUnitOfWork
from allocation_worker.service_layer.ports import StoreUnavailableError
from tests.fakes.unit_of_work import Published
from tests.integration.postgres.staging import until

ACTIVE_RELAY = """
SELECT FROM pg_locks
 WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
TABLES = ("order_lines", "batches", "products", "inbox", "outbox")


def migrated_engine(url: str) -> Engine:
    """An engine for a database that has the tables."""
    engine = create_engine(url, application_name="tests", pool_size=8)
    migrate(engine)
    return engine


def write_events(connection: Connection, *types: str) -> list[int]:
    """Rows of the outbox in a transaction of the test's own; their ids."""
    inserted = connection.execute(
        sa.text(
            "INSERT INTO outbox (message_id, type, body, correlation_id, causation_id) "
            "SELECT gen_random_uuid(), type, '{}', 'c', 'm' FROM unnest(CAST(:types AS text[])) AS type RETURNING id"
        ),
        {"types": list(types)},
    )
    return [row.id for row in inserted]


class PostgresStore:
    """The tables behind an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def unit_of_work(self) -> PostgresUnitOfWork:
        return PostgresUnitOfWork(self.engine)

    def open_pending(self) -> AbstractContextManager[PendingEvents]:
        return open_pending(self.engine, lease=30.0)

    def write_events(self, *types: str) -> list[int]:
        """Rows of the outbox that nothing has caused; their ids."""
        with self.engine.begin() as connection:
            return write_events(connection, *types)

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
            "traceparent FROM outbox ORDER BY id"
        )
        return [Published(**{**row._asdict(), "body": json.loads(row.body)}) for row in rows]

    def taken(self) -> set[str]:
        return {row.message_id for row in self.rows("SELECT message_id FROM inbox")}

    def stock(self) -> dict[str, tuple[int, int]]:
        rows = self.rows("SELECT reference, purchased, allocated FROM batches")
        return {row.reference: (row.purchased, row.allocated) for row in rows}

    def lines(self) -> set[tuple[str, str, str, int, str | None, bool]]:
        rows = self.rows("SELECT orderid, sku, lineid, qty, batchref, cancelled FROM order_lines")
        return {(row.orderid, row.sku, row.lineid, row.qty, row.batchref, row.cancelled) for row in rows}

    def rows(self, statement: str, **parameters: object) -> list[sa.Row[tuple[object, ...]]]:
        with self.engine.begin() as connection:
            return list(connection.execute(sa.text(statement), parameters))

    def execute(self, statement: str, **parameters: object) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), parameters)
