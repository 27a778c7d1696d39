"""Deletes old rows from the tables that grow with the traffic, and keeps the time that this has reached.

The cost of a step does not depend on the size of its table. The inbox is read in the order of its pages, a few at a
time: its rows are about as old as their neighbours, because they were written together. The outbox is read in the order
of its ids, from the oldest on. Neither needs an index by age, which every command would have to write.

Lines and batches that have ended are read like the inbox. They are deleted under the locks of their products, as a
command would change them.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.repository import LOCKED_FOR_LONG
from allocation_worker.adapters.postgres.statements import ENDED
from allocation_worker.service_layer.ports import PrunedTable, Step, StoreLockTimeoutError

PAGES_AT_A_TIME = 128
"""A megabyte; at most some 8,000 rows of the inbox."""

LINES_PAGES_AT_A_TIME = 32
"""At most some 3,000 lines, so that the locks of their products are held for a moment only."""

ROWS_AT_A_TIME = 1000
OUTBOX_PAGES_AT_A_TIME = 100
"""A page of the outbox may hold 1,000 events, in some fifty rows of the table's TOAST."""

BEGIN_AGAIN_AFTER = timedelta(hours=1)
"""How long a row is not looked at again that was passed over."""

PAGES = sa.text("""
    SELECT pg_relation_size(CAST(:name AS regclass)) / CAST(current_setting('block_size') AS bigint)
""")

LOCK_PRODUCTS = sa.text("""
    SELECT sku FROM products WHERE sku = ANY(CAST(:skus AS text[])) ORDER BY sku FOR UPDATE SKIP LOCKED
""")

WAIT_FOR_PRODUCT = sa.text("""
    SET LOCAL lock_timeout = :limit; SELECT FROM products WHERE sku = :sku FOR UPDATE
""")

WAIT_FOR = 1.0
"""Seconds in which a step goes on to the next product that was locked."""

# What was shipped stays allocated and shipped in the batch, though its line has gone.
DELETE_LINES = """
    WITH gone AS (DELETE FROM order_lines WHERE {due} RETURNING batchref, qty),
    counted AS (
        UPDATE batches SET pruned = pruned + lines.qty
        FROM (SELECT batchref, sum(qty) AS qty FROM gone WHERE batchref IS NOT NULL GROUP BY batchref) AS lines
        WHERE reference = batchref
    )
    SELECT count(*) FROM gone
"""

# All of it was shipped, and those lines have gone; or it was reduced to nothing, and the day of its arrival has passed.
BATCH_ENDED = "purchased = pruned AND (eta IS NULL OR eta < current_date)"
# An older program may have created a batch anew that was pruned. Its reference is there then.
DELETE_BATCHES = """
    WITH gone AS (DELETE FROM batches WHERE {due} RETURNING reference, sku),
    remembered AS (INSERT INTO pruned_batches (reference, sku) SELECT reference, sku FROM gone ON CONFLICT DO NOTHING)
    SELECT count(*) FROM gone
"""

OF_THESE_PAGES = "ctid >= CAST(:first AS tid) AND ctid < CAST(:after AS tid)"

SERVER_TIME = sa.text("SELECT now()")
REACHED = sa.text("SELECT reached FROM prune_clock")
FIRST_REACHED = sa.text("INSERT INTO prune_clock SELECT now() RETURNING reached")
REACH = sa.text("UPDATE prune_clock SET reached = :after WHERE reached = :before")


class _ByPages(ABC):
    """A table that is read in the order of its pages.

    Args:
        engine: The database.
        name: The table.
        keep: How long a row is kept.
        pages: The pages that a step reads.
    """

    def __init__(self, engine: Engine, name: str, *, keep: timedelta, pages: int) -> None:
        self.name = name
        self.keep = keep
        self._engine = engine
        self._at_a_time = pages
        self._page = self._pages = 0

    def step(self, now: datetime) -> Step:
        """Delete the old rows of some pages."""
        page, pages = self._page, self._pages
        if page >= pages:
            with self._engine.begin() as connection:
                page, pages = 0, connection.execute(PAGES, {"name": self.name}).scalar_one()
        limits = {"first": f"({page},0)", "after": f"({page + self._at_a_time},0)"}
        rows = self._prune({**limits, "before": now - self.keep})
        self._page, self._pages = page + self._at_a_time, pages
        return Step(rows, ended=self._page >= pages)

    def steps_left(self) -> int:
        """Return how many steps this round has left; at least 1."""
        return max(1, (self._pages - self._page) // self._at_a_time)

    @abstractmethod
    def _prune(self, parameters: Mapping[str, object]) -> int:
        """Delete the rows of the pages from `first` to `after` that are older than `before`. Return how many."""


class TableByPages(_ByPages):
    """A table of rows that may go at a certain age, read in the order of its pages.

    Args:
        engine: The database.
        name: The table.
        age: The column with the time of a row.
        keep: How long a row is kept.
        may_go: The condition for a row to go at all.
        pages: The pages that a step reads.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        age: str,
        *,
        keep: timedelta,
        may_go: str = "true",
        pages: int = PAGES_AT_A_TIME,
    ) -> None:
        super().__init__(engine, name, keep=keep, pages=pages)
        self.delete = sa.text(f"""
            DELETE FROM {name} WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM {name}
                WHERE {OF_THESE_PAGES} AND {age} < :before AND {may_go}
                FOR UPDATE SKIP LOCKED))
        """)  # noqa: S608 - names of our own

    def _prune(self, parameters: Mapping[str, object]) -> int:
        with self._engine.begin() as connection:
            return connection.execute(self.delete, parameters).rowcount


class EndedRows(_ByPages):
    """Lines or batches that have ended. They go at a certain time after their end.

    A row that has ended and has no time yet gets one when it is first seen.

    Products that others have locked come last, one after the other, each in a transaction of its own: one that several
    consumers use all the time is never found free. A step waits for them a moment only. The next round sees to the rows
    of those that it has left.

    Args:
        engine: The database.
        name: The table. It has a column `sku`.
        keep: How long a row is kept after its end.
        ended: The condition for a row to have ended.
        delete: Begins with the deletion of rows, its condition is `{due}`, and it returns how many have gone.
    """

    def __init__(self, engine: Engine, name: str, *, keep: timedelta, ended: str, delete: str) -> None:
        super().__init__(engine, name, keep=keep, pages=LINES_PAGES_AT_A_TIME)
        self._waited_for = ""
        these = f"{OF_THESE_PAGES} AND ({ended})"
        locked = "sku = ANY(CAST(:skus AS text[]))"
        self.find = sa.text(f"""
            SELECT DISTINCT sku FROM {name} WHERE {these} AND (ended_at IS NULL OR ended_at < :before)
        """)  # noqa: S608 - texts of our own
        self.note = sa.text(f"""
            UPDATE {name} SET ended_at = now() WHERE {these} AND ended_at IS NULL AND {locked}
        """)  # noqa: S608 - as above
        self.delete = sa.text(delete.format(due=f"{these} AND ended_at < :before AND {locked}"))

    def _prune(self, parameters: Mapping[str, object]) -> int:
        free: Sequence[str] = []
        with self._engine.begin() as connection:
            skus = connection.scalars(self.find, {**parameters}).all()
            if skus:
                # Without waiting, so that it never waits for a command that waits for it.
                free = connection.scalars(LOCK_PRODUCTS, {"skus": array(skus)}).all()
            gone = self._prune_locked(connection, free, parameters)
        return gone + self._wait_for(set(skus).difference(free), parameters)

    def _prune_locked(self, connection: Connection, skus: Sequence[str], parameters: Mapping[str, object]) -> int:
        """Prune the rows of these products, which are locked. What others committed before is seen."""
        if not skus:
            return 0
        here = {"first": parameters["first"], "after": parameters["after"], "skus": array(skus)}
        gone: int = connection.execute(self.delete, {**here, "before": parameters["before"]}).scalar_one()
        connection.execute(self.note, here)
        return gone

    def _wait_for(self, skus: Collection[str], parameters: Mapping[str, object]) -> int:
        """Prune the rows of products that were locked, until one of them stays so. Begin with another one each time."""
        gone = 0
        until = monotonic() + WAIT_FOR
        with suppress(StoreLockTimeoutError):
            for sku in sorted(skus, key=lambda each: (each <= self._waited_for, each)):
                if monotonic() > until:
                    break
                self._waited_for = sku
                with self._engine.begin() as connection:
                    connection.execute(WAIT_FOR_PRODUCT, {"sku": sku, "limit": f"{LOCKED_FOR_LONG}ms"})
                    gone += self._prune_locked(connection, [sku], parameters)
        return gone


class _Place(NamedTuple):
    """Where a table by ids is read next.

    Attributes:
        after: The last id that was read.
        until: An id whose row was old when this was last looked for.
        passed_over: The first id that was read and not deleted.
        again_at: When to read from there again.
    """

    after: int
    until: int = 0
    passed_over: int | None = None
    again_at: datetime = datetime.max.replace(tzinfo=UTC)


class TableByIds:
    """A table of rows that may go at a certain age, read in the order of its ids, which follows age.

    What was read is not read again: the index entries of deleted rows stay as long as any transaction that began
    before. For rows that were passed over, because they wait to be published or are locked, it begins again every hour.

    Args:
        engine: The database.
        name: The table.
        age: The column with the time of a row.
        keep: How long a row is kept.
        may_go: The condition for a row to go at all.
        rows: The rows that a step reads.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        age: str,
        *,
        keep: timedelta,
        may_go: str,
        rows: int = ROWS_AT_A_TIME,
    ) -> None:
        self.name = name
        self.keep = keep
        self._engine = engine
        self._at_a_time = rows
        self.place: _Place | None = None
        self._first = sa.text(f"SELECT id FROM {name} ORDER BY id LIMIT 1")  # noqa: S608 - a name of our own
        # Rows may stand before older ones, such as those of a minute in which the clock was ahead. So it is not enough
        # to read until the first row that is young. These probes go as far as the last id.
        self.find = sa.text(f"""
            SELECT max(found.id) FROM generate_series(0, 61) AS power, LATERAL (
                SELECT id, {age} AS age FROM {name} WHERE id >= :after + (CAST(1 AS bigint) << power)
                ORDER BY id LIMIT 1
            ) AS found WHERE age < :before
        """)  # noqa: S608 - names of our own
        self._read = sa.text(f"""
            SELECT count(*), max(id) FROM (
                SELECT id FROM {name} WHERE id > :after AND id <= :until ORDER BY id LIMIT :limit
            ) AS next
        """)  # noqa: S608 - a name of our own
        self.delete = sa.text(f"""
            DELETE FROM {name} WHERE id = ANY(ARRAY(
                SELECT id FROM {name} WHERE id > :after AND id <= :last AND {age} < :before AND {may_go}
                FOR UPDATE SKIP LOCKED))
        """)  # noqa: S608 - names of our own
        self._left = sa.text(f"SELECT min(id) FROM {name} WHERE id > :after AND id <= :last")  # noqa: S608 - a name of our own

    def step(self, now: datetime) -> Step:
        """Delete the old rows among the next ids."""
        with self._engine.begin() as connection:
            place = self.place or self._first_place(connection)
            if place is None:
                return Step(0, ended=True)
            if place.passed_over is not None and now >= place.again_at:
                place = _Place(place.passed_over - 1)
            step, place = self._step(connection, place, now)
        self.place = place
        return step

    def _first_place(self, connection: Connection) -> _Place | None:
        first = connection.execute(self._first).scalar_one_or_none()
        return None if first is None else _Place(first - 1)

    def _step(self, connection: Connection, place: _Place, now: datetime) -> tuple[Step, _Place]:
        before = now - self.keep
        if place.after >= place.until:
            until = connection.execute(self.find, {"after": place.after, "before": before}).scalar_one()
            if until is None:
                return Step(0, ended=True), place
            place = place._replace(until=until)
        read, last = connection.execute(
            self._read, {"after": place.after, "until": place.until, "limit": self._at_a_time}
        ).one()
        if not read:  # somebody else has deleted them
            return Step(0, ended=False), place._replace(after=place.until)
        limits = {"after": place.after, "last": last}
        rows = connection.execute(self.delete, {**limits, "before": before}).rowcount
        if rows < read and place.passed_over is None:
            left = connection.execute(self._left, limits).scalar_one()
            place = place._replace(passed_over=left, again_at=now + BEGIN_AGAIN_AFTER)
        return Step(rows, ended=False), place._replace(after=last)

    def steps_left(self) -> int:
        """Return 1, since it is not known."""
        return 1


def pruned_tables(engine: Engine, *, history_days: int, inbox_days: int, lines_days: int = 0) -> list[PrunedTable]:
    """Return the tables to prune.

    Args:
        engine: The database.
        history_days: The days to keep an event that was published, or that no queue is bound for. Events that wait to
            be published are never deleted.
        inbox_days: The days to keep a message_id.
        lines_days: The days to keep a line or a batch that has ended; 0 to keep them for ever.
    """
    history = timedelta(days=history_days)
    tables: list[PrunedTable] = [
        TableByPages(engine, "inbox_entries", "received_at", keep=timedelta(days=inbox_days)),
        TableByIds(
            engine,
            "outbox_pages",
            "created_at",
            keep=history,
            may_go="published_at IS NOT NULL",
            rows=OUTBOX_PAGES_AT_A_TIME,
        ),
        TableByIds(engine, "outbox_unrouted", "created_at", keep=history, may_go="true"),
    ]
    if lines_days:
        keep = timedelta(days=lines_days)
        tables += [
            EndedRows(engine, "order_lines", keep=keep, ended=ENDED, delete=DELETE_LINES),
            EndedRows(engine, "batches", keep=keep, ended=BATCH_ENDED, delete=DELETE_BATCHES),
        ]
    return tables


class PostgresPruneTimes:
    """The clock of the database, and the time that pruning has reached.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def server_time(self) -> datetime:
        """Return the time by the clock of the database."""
        with self._engine.begin() as connection:
            return _time(connection.execute(SERVER_TIME).scalar_one())

    def reached(self) -> datetime:
        """Return the time that was kept last."""
        with self._engine.begin() as connection:
            found = connection.execute(REACHED).scalar_one_or_none()
            return _time(found or connection.execute(FIRST_REACHED).scalar_one())

    def reach(self, before: datetime, after: datetime) -> bool:
        """Keep the time `after`. Do nothing and return False if the time that is kept is not `before`."""
        with self._engine.begin() as connection:
            return bool(connection.execute(REACH, {"before": before, "after": after}).rowcount)


def _time(value: object) -> datetime:
    assert isinstance(value, datetime)  # noqa: S101 - the column's type
    return value
