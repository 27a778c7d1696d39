"""Finds the holds whose time has passed."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.rows import read_cause
from allocation_worker.adapters.postgres.statements import HELD, PLACE, WAITS
from allocation_worker.service_layer.lapse import LONG_QUEUE, DueHold

# Of a long queue only its beginning is read. The condition on turns, which each line meets, is for the planner: without
# statistics it would choose another index, by which it would read the queues of all products.
DUE_HOLDS = sa.text(f"""
    WITH due AS MATERIALIZED (
        SELECT sku, orderid, lineid, held_by, held_until FROM order_lines
        WHERE {HELD} AND held_until <= now() AND sku <> ALL(CAST(:besides AS text[]))
        ORDER BY held_until LIMIT :limit
    ), queues AS MATERIALIZED (
        SELECT sku, EXISTS (
                SELECT FROM order_lines WHERE {WAITS} AND sku = product.sku AND (-priority, {PLACE}) > (-100, 0)
                ORDER BY -priority, {PLACE} OFFSET {LONG_QUEUE - 1}
            ) AS has_long_queue
        FROM (SELECT DISTINCT sku FROM due) AS product
    )
    SELECT sku, orderid, lineid, held_by, has_long_queue FROM due JOIN queues USING (sku) ORDER BY held_until
""")  # noqa: S608 - constants


class PostgresDueHolds:
    """The holds whose time has passed by the clock of the database.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, limit: int, besides: Collection[str]) -> list[DueHold]:
        """Return some of them, those due first. Those of the SKUs `besides` are left out."""
        with self._engine.begin() as connection:
            rows = connection.execute(DUE_HOLDS, {"limit": limit, "besides": array(sorted(besides))}).all()
        return [DueHold(row.sku, row.orderid, row.lineid, *read_cause(row.held_by), row.has_long_queue) for row in rows]
