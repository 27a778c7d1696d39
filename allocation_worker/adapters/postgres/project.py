"""Reads tables and events in one snapshot, for `project`.

The outbox has no index by SKU or by causation_id. Such an index would slow down every command, and these queries are
rare: an operator asks them, or `project` after a loss. They scan the view `events`, which takes the pages apart.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres import statements
from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.engine import patient
from allocation_worker.service_layer.ports import BatchView, LineView, ProjectedEvent, RejectionView

ROWS_AT_A_TIME = 500

# In seconds. Long reads block nobody, so the limit on statements need not end them.
_LONGEST_READ = 3600
BEGIN = sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
UNHURRIED = sa.text(f"SET LOCAL statement_timeout = '{_LONGEST_READ}s'")

SEQUENCES = sa.text("""
    SELECT sku, sequence FROM products WHERE :everything OR sku = ANY(CAST(:skus AS text[]))
""")

# The outbox holds an event several times if it answered several commands.
EVENTS_AFTER = sa.text("""
    SELECT DISTINCT ON (events.sku, events.sequence) events.type, events.body
    FROM events JOIN unnest(CAST(:skus AS text[]), CAST(:sequences AS bigint[])) AS known (sku, sequence)
        ON events.sku = known.sku AND events.sequence > known.sequence
    ORDER BY events.sku, events.sequence
""")

LINES = sa.text(f"""
    SELECT orderid, order_lines.sku, lineid,
        CASE WHEN cancelled THEN 'cancelled' WHEN order_lines.shipped THEN 'shipped' WHEN {statements.HELD} THEN 'held'
            WHEN batchref IS NOT NULL THEN 'allocated' WHEN place = 0 THEN 'lapsed'
            WHEN wait THEN 'waiting' ELSE 'out-of-stock' END AS status,
        qty, batchref, eta, order_lines.sequence
    FROM order_lines LEFT JOIN batches ON reference = batchref
    WHERE order_lines.sku = ANY(CAST(:skus AS text[]))
""")  # noqa: S608 - a constant

BATCHES = sa.text("""
    SELECT reference, sku, purchased, allocated, eta, sequence FROM batches
    WHERE sku = ANY(CAST(:skus AS text[])) ORDER BY sku, arrival
""")


REJECTIONS = sa.text("""
    SELECT body, created_at FROM events WHERE type = :type AND page_created_at >= :since ORDER BY id
""")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a read-only transaction with one snapshot."""
    with engine.connect() as connection, patient(connection, _LONGEST_READ), connection.begin():
        connection.execute(BEGIN)
        connection.execute(UNHURRIED)
        yield connection


def stream(connection: Connection, statement: sa.TextClause, **parameters: Any) -> Iterator[Any]:  # noqa: ANN401 - rows, which SQLAlchemy types no further
    """Yield the rows of a statement, fetched in portions of ROWS_AT_A_TIME."""
    streaming = connection.execution_options(yield_per=ROWS_AT_A_TIME)
    with streaming.execute(statement, parameters) as rows:
        yield from rows


class PostgresWriteModel:
    """Implements `service_layer.ports.WriteModel`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sequences(self, skus: Collection[str] | None = None) -> Mapping[str, int]:
        rows = stream(self._connection, SEQUENCES, everything=skus is None, skus=array(sorted(skus or ())))
        return {sku: sequence for sku, sequence in rows}  # noqa: C416 - rows are not pairs to mypy

    def restored_at(self) -> int:
        return self._connection.scalar(statements.BEGINNING) or 0

    def events_after(self, sequences: Mapping[str, int]) -> Iterator[ProjectedEvent]:
        rows = stream(
            self._connection, EVENTS_AFTER, skus=array(list(sequences)), sequences=array(list(sequences.values()))
        )
        read = (wire.projected_event(type_, body.encode()) for type_, body in rows)
        return (event for event in read if event is not None)

    def lines(self, skus: Collection[str]) -> Iterator[LineView]:
        return (LineView(*row) for row in stream(self._connection, LINES, skus=array(sorted(skus))))

    def batches(self, skus: Collection[str]) -> Iterator[BatchView]:
        return (BatchView(*row) for row in stream(self._connection, BATCHES, skus=array(sorted(skus))))

    def rejections(self, since: datetime | None) -> Iterator[RejectionView]:
        rows = stream(self._connection, REJECTIONS, type=wire.REJECTED, since=since or datetime.min.replace(tzinfo=UTC))
        read = (wire.rejection(body.encode(), created_at) for body, created_at in rows)
        return (rejection for rejection in read if rejection is not None)


@contextmanager
def open_write_model(engine: Engine) -> Iterator[PostgresWriteModel]:
    """Yield the write model, in one read-only snapshot."""
    with reading(engine) as connection:
        yield PostgresWriteModel(connection)
