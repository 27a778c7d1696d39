"""Reads the lines that wait or are held, for `show`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.project import reading
from allocation_worker.adapters.postgres.rows import line_uuid
from allocation_worker.adapters.postgres.statements import HELD, PLACE, WAITS
from allocation_worker.service_layer.ports.show import BatchUse, HeldLine, LineKey, LineQueue, SkuQueue, WaitingLine

_WAITING = "orderid, sku, lineid, qty, priority, needed_by"

QUEUE = sa.text(f"""
    SELECT {_WAITING}, waits_since FROM order_lines WHERE {WAITS} AND sku = :sku
    ORDER BY -priority, {PLACE} LIMIT :limit
""")  # noqa: S608 - constants

TOTALS = sa.text(f"""
    SELECT count(*) AS count, coalesce(sum(qty), 0) AS qty, min(waits_since) AS since FROM order_lines
    WHERE {WAITS} AND sku = :sku
""")  # noqa: S608 - as above

KNOWN = sa.text("SELECT FROM products WHERE sku = :sku")

QUEUES = sa.text(f"""
    SELECT sku, count(*) AS count, sum(qty) AS qty, min(waits_since) AS since, count(*) OVER () AS skus
    FROM order_lines WHERE {WAITS} GROUP BY sku ORDER BY count(*) DESC, sku LIMIT :limit
""")  # noqa: S608 - as above

WAITING = sa.text(f"""
    SELECT {_WAITING}, (
            SELECT count(*) FROM order_lines WHERE {WAITS} AND sku = line.sku
                AND (-priority, {PLACE}) < (-line.priority, coalesce(line.place, line.sequence))
        ) AS before, waits_since
    FROM order_lines AS line WHERE id = ANY(CAST(:ids AS uuid[])) AND {WAITS} ORDER BY sku, orderid, lineid
""")  # noqa: S608 - as above

# Not asked for the time of a hold with its zone: that of the session could move it out of the years that Python knows.
HELD_LINES = sa.text(f"""
    SELECT orderid, sku, lineid, qty, batchref, held_until AT TIME ZONE 'UTC' AS until,
        CAST(extract(epoch FROM held_until - now()) AS float) AS seconds_left
    FROM order_lines WHERE id = ANY(CAST(:ids AS uuid[])) AND {HELD} ORDER BY sku, orderid, lineid
""")  # noqa: S608 - as above

USE = sa.text(f"""
    SELECT reference, coalesce(held, 0) AS held, coalesce(holds, 0) AS holds,
        next_lapse AT TIME ZONE 'UTC' AS next_lapse, shipped
    FROM batches LEFT JOIN LATERAL (
        SELECT sum(qty) AS held, count(*) AS holds, min(held_until) AS next_lapse FROM order_lines
        WHERE {HELD} AND batchref = reference
    ) AS held_lines ON true
    WHERE reference = ANY(CAST(:refs AS text[]))
""")  # noqa: S608 - as above


class PostgresLinesNow:
    """Implements `service_layer.ports.show.LinesNow`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def queue(self, sku: str, limit: int) -> LineQueue:
        rows = self._connection.execute(QUEUE, {"sku": sku, "limit": limit})
        lines = [_waiting(row, before) for before, row in enumerate(rows)]
        return LineQueue(lines, *self._connection.execute(TOTALS, {"sku": sku}).one())

    def knows(self, sku: str) -> bool:
        return self._connection.execute(KNOWN, {"sku": sku}).first() is not None

    def queues(self, limit: int) -> tuple[Sequence[SkuQueue], int]:
        rows = self._connection.execute(QUEUES, {"limit": limit}).all()
        return [SkuQueue(*queue) for *queue, _ in rows], rows[0].skus if rows else 0

    def waiting(self, lines: Collection[LineKey]) -> Sequence[WaitingLine]:
        return [_waiting(row, row.before) for row in self._connection.execute(WAITING, {"ids": _ids(lines)})]

    def held(self, lines: Collection[LineKey]) -> Sequence[HeldLine]:
        rows = self._connection.execute(HELD_LINES, {"ids": _ids(lines)})
        return [HeldLine(*row)._replace(until=row.until.replace(tzinfo=UTC)) for row in rows]

    def use(self, batchrefs: Collection[str]) -> Mapping[str, BatchUse]:
        rows = self._connection.execute(USE, {"refs": array(sorted(batchrefs))})
        return {
            reference: BatchUse(held, holds, lapse and lapse.replace(tzinfo=UTC), shipped)
            for reference, held, holds, lapse, shipped in rows
        }


def _waiting(row: Row[Any], before: int) -> WaitingLine:
    return WaitingLine(row.orderid, row.sku, row.lineid, row.qty, row.priority, row.needed_by, before, row.waits_since)


def _ids(lines: Collection[LineKey]) -> str:
    return array([line_uuid((sku, (orderid, lineid))) for orderid, sku, lineid in lines])


@contextmanager
def open_lines(engine: Engine) -> Iterator[PostgresLinesNow]:
    """Yield the lines as they stand now, in one read-only snapshot."""
    with reading(engine) as connection:
        yield PostgresLinesNow(connection)
