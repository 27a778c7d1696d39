"""Reads published events, for `replay`."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.project import reading, stream
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import KeptEvents

COUNTED = sa.text("SELECT sequence FROM products WHERE sku = :sku")

# In a run of sequences without a gap, sequence minus rank is constant. The last such run is the one that is kept.
KEPT = sa.text("""
    WITH kept AS (
        SELECT sequence, bool_or(published_at IS NOT NULL) AS published,
            sequence - row_number() OVER (ORDER BY sequence) AS island
        FROM events WHERE position(:quoted_sku IN body) > 0 AND sku = :sku GROUP BY sequence
    )
    SELECT min(sequence) FILTER (WHERE island = (SELECT max(island) FROM kept)),
        count(*) FILTER (WHERE published AND sequence BETWEEN :first AND coalesce(:last, sequence))
    FROM kept
""")

_COLUMNS = """
    id, type, body, message_id::text AS message_id, correlation_id, causation_id, traceparent,
    extract(epoch FROM created_at)::bigint AS timestamp, tracestate
"""

EVENTS = sa.text(f"""
    SELECT DISTINCT ON (sequence) {_COLUMNS} FROM events
    WHERE position(:quoted_sku IN body) > 0 AND sku = :sku AND sequence BETWEEN :first AND :last
        AND published_at IS NOT NULL
    ORDER BY sequence, id
""")  # noqa: S608 - the columns are constants


class PostgresPublishedEvents:
    """Implements `service_layer.ports.PublishedEvents`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def kept(self, sku: str, first: int, last: int | None) -> KeptEvents | None:
        counted = self._connection.scalar(COUNTED, {"sku": sku})
        if counted is None:
            return None
        kept_from, published = self._connection.execute(
            KEPT, {"sku": sku, "quoted_sku": wire.quoted(sku), "first": first, "last": last}
        ).one()
        return KeptEvents(counted, kept_from, published)

    def events(self, sku: str, first: int, last: int) -> Iterator[OutgoingEvent]:
        rows = stream(self._connection, EVENTS, sku=sku, quoted_sku=wire.quoted(sku), first=first, last=last)
        return (
            OutgoingEvent(id_, None, wire.routing_key(type_), body.encode(), message_id, type_, *context)
            for id_, type_, body, message_id, *context in rows
        )


@contextmanager
def open_published(engine: Engine) -> Iterator[PostgresPublishedEvents]:
    """Yield the published events, in one read-only snapshot."""
    with reading(engine) as connection:
        yield PostgresPublishedEvents(connection)
