"""Finds the holds whose time has passed."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.rows import read_cause
from allocation_worker.adapters.postgres.statements import HELD
from allocation_worker.service_layer.lapse import DueHold

DUE_HOLDS = sa.text(f"""
    SELECT sku, orderid, lineid, held_by FROM order_lines
    WHERE {HELD} AND held_until <= now() AND sku <> ALL(CAST(:besides AS text[]))
    ORDER BY held_until LIMIT :limit
""")  # noqa: S608 - a constant


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
        return [DueHold(row.sku, row.orderid, row.lineid, *read_cause(row.held_by)) for row in rows]
