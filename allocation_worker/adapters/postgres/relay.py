"""Reads and marks the unpublished pages of the outbox, in order, for one relay at a time."""

import select
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any
from uuid import uuid4

import psycopg2
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres import page
from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.durability import check_writable
from allocation_worker.adapters.postgres.errors import translated
from allocation_worker.adapters.postgres.outbox import CHANNEL
from allocation_worker.adapters.postgres.page import PLACES
from allocation_worker.adapters.postgres.session import NOT_ONE_SESSION, TRANSACTION_POOLING
from allocation_worker.adapters.postgres.watchdog import watched_connection
from allocation_worker.service_layer.outgoing import OutgoingEvent, Page
from allocation_worker.service_layer.ports import StoreUnavailableError

# The number is arbitrary. With the oid of the table it is an advisory lock that nothing else uses, in each schema.
_RELAY_LOCK = 7_140_002
_PARTITION = 0
# Seconds between two attempts to raise the floor.
_RAISE_FLOOR_EVERY = 1.0

_SHARED = NOT_ONE_SESSION.format(why=TRANSACTION_POOLING)

# What is visible is on the server's own disk, since every transaction of a worker waits for that. It may not be on a
# synchronous standby yet. So if there is one, and the statement returns any row, the transaction writes a message, to
# have something to commit. When the commit returns, all that the statement saw is on the standby. The subquery is
# evaluated once, at the first row.
_DURABLY = """
    SET LOCAL synchronous_commit = {level}; SET LOCAL client_min_messages = warning;
    SELECT found.*, pg_backend_pid(), current_setting('allocation.relay', true),
        (SELECT pg_logical_emit_message(true, 'allocation', '')
            WHERE current_setting('synchronous_standby_names') <> '')
    FROM ({rows}) AS found ORDER BY id
"""

# If a pooler shares sessions between clients, two relays may be active, since a session may take its lock twice. So the
# active reader writes its name into the session, and looks for it after each fetch.
_ACQUIRE = sa.text(f"""
    SELECT pg_backend_pid() AS backend, mine,
        CASE WHEN mine OR pg_try_advisory_lock({_RELAY_LOCK} + {_PARTITION}, installation)
            THEN set_config('allocation.relay', CASE WHEN mine THEN known ELSE :reader END, false)
        END AS reader
    FROM (
        SELECT current_setting('allocation.relay', true) AS known, CAST(installation AS integer), EXISTS (
            SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
                AND classid = {_RELAY_LOCK} + {_PARTITION} AND objid = installation AND objsubid = 2
        ) AS mine
        FROM CAST(CAST('outbox_pages' AS regclass) AS oid) AS installation
    ) AS session
""")  # noqa: S608 - the number is a constant

_SESSION = sa.text("SELECT pg_backend_pid(), current_setting('allocation.relay', true)")


# The sum is computed page by page, so no more than `limit` pages are read. One statement has one snapshot: no page with
# a product is missed that comes before one without.
FETCH = f"""
    SELECT id, timestamp, events, NULL AS product FROM (
        SELECT id, extract(epoch FROM created_at)::bigint AS timestamp, events,
            sum(count) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - count AS before
        FROM outbox_pages
        WHERE partition = {_PARTITION} AND published_at IS NULL AND id > %(floor)s AND product IS NULL
            AND id <> ALL(CAST(%(taken)s AS bigint[]))
        ORDER BY id LIMIT %(limit)s
    ) AS waiting WHERE before < %(limit)s
    UNION ALL
    SELECT id, 0, NULL, product FROM outbox_pages
    WHERE partition = {_PARTITION} AND published_at IS NULL AND product IS NOT NULL
        AND id <> ALL(CAST(%(taken)s AS bigint[]))
"""  # noqa: S608 - the partition is a constant

READ = sa.text("""
    SELECT id, extract(epoch FROM created_at)::bigint, events, product FROM outbox_pages
    WHERE id = ANY(CAST(:pages AS bigint[])) ORDER BY id
""")

# A mark lost in a crash costs a duplicate event. Waiting for the disk after each would halve the throughput.
MARK_PUBLISHED = sa.text("""
    SET LOCAL synchronous_commit = off;
    UPDATE outbox_pages SET published_at = now() WHERE id = ANY(CAST(:pages AS bigint[])) AND published_at IS NULL
""")

MARK_AND_KEEP_UNROUTED = sa.text(f"""
    SET LOCAL synchronous_commit = off;
    WITH marked AS (
        UPDATE outbox_pages SET published_at = now()
        WHERE id = ANY(CAST(:pages AS bigint[])) AND published_at IS NULL RETURNING id, partition, created_at, events
    )
    INSERT INTO outbox_unrouted (id, created_at, partition, type, event)
    SELECT id * {PLACES} + place - 1, created_at, partition, split_part(line, E'\t', 2), line
    FROM marked CROSS JOIN LATERAL string_to_table(events, E'\n') WITH ORDINALITY AS lines (line, place)
    WHERE id * {PLACES} + place - 1 = ANY(CAST(:unrouted AS bigint[]))
""")  # noqa: S608 - the number is a constant

# DISTINCT ON would read all these events, perhaps a month of them. For `type = name ORDER BY id` the planner may scan
# the table in the order of ids.
OLDEST_UNROUTED = sa.text(f"""
    SELECT id, extract(epoch FROM created_at)::bigint, event
    FROM unnest(CAST(:types AS text[])) AS known (name) JOIN LATERAL (
        SELECT * FROM outbox_unrouted WHERE partition = {_PARTITION} AND type >= name
        ORDER BY partition, type, id LIMIT 1
    ) AS oldest ON type = name
""")  # noqa: S608 - the partition is a constant

FETCH_UNROUTED = sa.text(f"""
    SELECT id, extract(epoch FROM created_at)::bigint, event
    FROM unnest(CAST(:types AS text[])) AS known (name) JOIN LATERAL (
        SELECT * FROM outbox_unrouted WHERE partition = {_PARTITION} AND type = name AND id > :after
        ORDER BY id LIMIT :limit
    ) AS next ON true
    ORDER BY id LIMIT :limit
""")  # noqa: S608 - the partition is a constant

REMOVE_UNROUTED = sa.text("""
    SET LOCAL synchronous_commit = off;
    DELETE FROM outbox_unrouted WHERE id = ANY(CAST(:ids AS bigint[]))
""")

# last_value of an unused sequence is the number of the first row, hence is_called.
HIGHEST_ID = sa.text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM outbox_pages_id_seq")

# Transactions that may have numbered a page. The lock is taken before the number and released after the commit can be
# seen. Unlike the oldest running transaction, this leaves out those that write elsewhere, even in other databases.
WRITERS = sa.text("""
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = CAST('outbox_pages' AS regclass)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid()
""")


class _Floor:
    """The id up to which every page was fetched, so that `fetch` need not look at those pages again.

    Transactions commit in another order than that of their ids, and one transaction may write many pages. So the floor
    rises in three steps: note the highest id, wait until all transactions of that moment have ended, and wait until a
    later fetch has read all pages up to that id.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._due = 0.0
        self._target = 0
        self._writers: set[str] | None = None
        self.id = 0

    def look(self) -> None:
        """Check whether the transactions have ended. Call this before each fetch."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + _RAISE_FLOOR_EVERY
        if self._writers is None:
            # In this order: who numbered a page up to this id is among the writers, or has ended.
            self._target = self._connection.execute(HIGHEST_ID).scalar_one()
            self._writers = self._find_writers()
        elif self._writers:
            self._writers &= self._find_writers()

    def looked(self, *, up_to: int | None) -> None:
        """Raise the floor if possible. Call this after each fetch.

        Args:
            up_to: The highest id that was fetched; None if the fetch returned all pages.
        """
        ended = self._writers is not None and not self._writers
        if ended and (up_to is None or up_to > self._target):
            self.id = self._target
            self._writers = None

    def _find_writers(self) -> set[str]:
        return set(self._connection.execute(WRITERS).scalars())


class PendingEvents:
    """A session with the outbox. An advisory lock, held by its connection, makes it the only reader.

    A connection may outlive its reader: a stopped or disconnected process keeps the lock and does nothing. So the
    server ends a session that was silent for the time of the lease.

    Args:
        connection: A connection in autocommit mode that nothing else uses.
        lease: The longest silence, in seconds. A waiting reader sends a statement three times per lease.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, connection: Connection, *, lease: float, clock: Callable[[], float] = monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._lease = lease
        self._beat_due = 0.0
        self._driver = watched_connection(connection)
        self._floor = _Floor(connection, clock)
        self._session: tuple[int, str] | None = None

    def acquire(self) -> bool:
        """Become the one reader. Return False while another session is."""
        self._check_session()
        reader = uuid4().hex
        row = self._connection.execute(_ACQUIRE, {"reader": reader}).one()
        if row.mine and (row.backend, row.reader) != self._session:
            raise StoreUnavailableError(_SHARED)
        if row.reader is None:
            return False
        self._session = (row.backend, row.reader)
        channel = self._connection.scalar(sa.text(f"SELECT {CHANNEL}"))
        self._connection.execute(
            sa.text(f"LISTEN {channel}; SET idle_session_timeout = '{round(self._lease * 1000)}ms'")
        )
        return True

    def fetch(self, limit: int, taken: Collection[int]) -> list[Page]:
        """Return the next pages to publish, except those taken. Each product's events are in order of sequence."""
        self._floor.look()
        rows = self._execute_durably(FETCH, {"floor": self._floor.id, "taken": array(list(taken)), "limit": limit})
        pages = [_page(*row) for row in rows]
        last = next((page.id for page in reversed(pages) if page.events), None)
        full = sum(len(page.events) for page in pages) >= limit
        if full:
            # Pages without a product may be missing from here on, so those with one come next time.
            pages = [page for page in pages if last is not None and page.id <= last]
        self._floor.looked(up_to=last if full else None)
        return pages

    def read(self, pages: Collection[int]) -> list[Page]:
        """Return these pages, which were fetched without their events, with them, in the order of their ids."""
        return [_page(*row) for row in self._connection.execute(READ, {"pages": array(sorted(pages))})]

    def mark_published(self, pages: Collection[int], unrouted: Collection[int]) -> None:
        """Mark these pages as published, and keep those of their events that no queue is bound for."""
        if unrouted:
            parameters = {"pages": array(sorted(pages)), "unrouted": array(sorted(unrouted))}
            self._connection.execute(MARK_AND_KEEP_UNROUTED, parameters)
        else:
            self._connection.execute(MARK_PUBLISHED, {"pages": array(sorted(pages))})

    def oldest_unrouted(self) -> list[OutgoingEvent]:
        """Return the first kept event of each type."""
        rows = self._connection.execute(OLDEST_UNROUTED, {"types": array(wire.EVENT_TYPES)})
        return [page.outgoing(line, id_, None, timestamp) for id_, timestamp, line in rows]

    def fetch_unrouted(self, types: Collection[str], limit: int, after: int) -> list[OutgoingEvent]:
        """Return the next kept events of these types after an id, in order."""
        rows = self._connection.execute(FETCH_UNROUTED, {"types": array(sorted(types)), "limit": limit, "after": after})
        return [page.outgoing(line, id_, None, timestamp) for id_, timestamp, line in rows]

    def remove_unrouted(self, ids: Collection[int]) -> None:
        """Remove kept events that are published."""
        self._connection.execute(REMOVE_UNROUTED, {"ids": array(sorted(ids))})

    def _execute_durably(self, statement: str, parameters: dict[str, object]) -> list[tuple[Any, ...]]:
        """Return the rows of a statement once no failover can lose what they show.

        After a crash the server may show rows that no standby has. If such an event were published and then lost in a
        failover, another event would get its sequence and message_id.
        """
        self._driver.notices.clear()
        try:
            with self._driver.cursor() as cursor:
                cursor.execute(_DURABLY.format(level=self._driver.commit_level, rows=statement), parameters)
                rows = cursor.fetchall()
        except psycopg2.Error as error:
            raise translated(error) from error
        # The server translates its notices, so their text is not compared. No other notice is possible here.
        if self._driver.notices:
            raise StoreUnavailableError(f"The wait for a standby was cancelled: {self._driver.notices[-1].strip()}")
        if rows and self._session not in {None, rows[0][-3:-1]}:
            raise StoreUnavailableError(_SHARED)
        return [row[:-3] for row in rows]

    def _check_session(self) -> None:
        """Check that the server can be written to, and that an active reader is still in its session.

        Raises:
            StoreUnavailableError: The server has been demoted to a standby, or a pooler does not keep the session.
        """
        check_writable(self._connection)
        if self._session not in {None, tuple(self._connection.execute(_SESSION).one())}:
            raise StoreUnavailableError(_SHARED)

    def wait(self, timeout: float, wake_fd: int) -> bool:
        """Wait for a commit to the outbox, for `wake_fd`, or for `timeout` seconds, but at most a third of the lease.

        Returns:
            Whether there may be new events in the outbox.
        """
        beat = self._lease / 3
        if self._clock() >= self._beat_due:
            self._check_session()
            self._beat_due = self._clock() + beat
        try:
            self._driver.poll()
            woken: list[int] = []
            if not self._driver.notifies:
                woken = select.select([self._driver.fileno(), wake_fd], [], [], min(timeout, beat))[0]
                self._driver.poll()
        except (psycopg2.Error, OSError, ValueError) as error:  # closed under us, it has no descriptor to wait for
            raise translated(error, disconnected=True) from error
        notified = bool(self._driver.notifies)
        self._driver.notifies.clear()
        return notified or (timeout > 0 and not woken)


def _page(id_: int, timestamp: int, events: str | None, product: str | None) -> Page:
    lines = enumerate([] if events is None else events.split("\n"), id_ * PLACES)
    return Page(id_, [page.outgoing(line, place, id_, timestamp) for place, line in lines], product)


@contextmanager
def open_pending(engine: Engine, *, lease: float) -> Iterator[PendingEvents]:
    """Open a session with the outbox. Its lock is released at the end, and after a silence of `lease` seconds."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            yield PendingEvents(connection, lease=lease)
        finally:
            # In the pool, the connection would keep the lock.
            connection.invalidate()
