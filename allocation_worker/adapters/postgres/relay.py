"""Reads and marks the unpublished events of the outbox, in order, for one relay at a time."""

import select
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from time import monotonic
from uuid import uuid4

import psycopg2
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.durability import check_writable
from allocation_worker.adapters.postgres.errors import translated
from allocation_worker.adapters.postgres.outbox import CHANNEL
from allocation_worker.adapters.postgres.session import NOT_ONE_SESSION, TRANSACTION_POOLING
from allocation_worker.adapters.postgres.watchdog import WatchedConnection
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import StoreUnavailableError

# The number is arbitrary. Nothing else may use it for an advisory lock in this database.
_RELAY_LOCK = 7_140_002
# The most rows that one statement updates, since a statement has a time limit.
_TAKEN_UP_AT_A_TIME = 10_000
# Seconds between two attempts to raise the floor.
_RAISE_FLOOR_EVERY = 1.0

_SHARED = NOT_ONE_SESSION.format(why=TRANSACTION_POOLING)

# Commits synchronously without writing a row. When the commit returns, everything visible before is durable by the
# server's settings: on disk, and on a standby if there is a synchronous one.
_SYNCHRONOUS_COMMIT = """
    SET LOCAL synchronous_commit = {level}; SET LOCAL client_min_messages = warning;
    SELECT pg_backend_pid(), current_setting('allocation.relay', true),
        pg_logical_emit_message(true, 'allocation', '')
"""

# If a pooler shares sessions between clients, two relays may be active, since a session may take its lock twice. So the
# active reader writes its name into the session, and looks for it after each fetch.
_ACQUIRE = sa.text(f"""
    SELECT pg_backend_pid() AS backend, mine,
        CASE WHEN mine OR pg_try_advisory_lock({_RELAY_LOCK})
            THEN set_config('allocation.relay', CASE WHEN mine THEN known ELSE :reader END, false)
        END AS reader
    FROM (
        SELECT current_setting('allocation.relay', true) AS known, EXISTS (
            SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
                AND classid = 0 AND objid = {_RELAY_LOCK} AND objsubid = 1
        ) AS mine
    ) AS session
""")  # noqa: S608 - the number is a constant

_SESSION = sa.text("SELECT pg_backend_pid(), current_setting('allocation.relay', true)")

COLUMNS = """
    id, message_id::text AS message_id, type, body, correlation_id, causation_id, traceparent,
    extract(epoch FROM created_at)::bigint AS timestamp
"""

FETCH = sa.text(f"""
    SELECT {COLUMNS} FROM outbox
    WHERE published_at IS NULL AND returned_at IS NULL AND id > :floor AND id <> ALL(CAST(:in_flight AS bigint[]))
    ORDER BY id LIMIT :limit
""")  # noqa: S608 - the columns are constants

# A mark lost in a crash costs a duplicate event. Waiting for the disk after each would halve the throughput.
MARK_PUBLISHED = sa.text("""
    SET LOCAL synchronous_commit = off;
    UPDATE outbox SET published_at = now() WHERE id = ANY(CAST(:ids AS bigint[])) AND published_at IS NULL
""")

SET_ASIDE = sa.text("""
    SET LOCAL synchronous_commit = off;
    UPDATE outbox SET returned_at = now() WHERE id = ANY(CAST(:ids AS bigint[])) AND published_at IS NULL
""")

# DISTINCT ON would read all events that are set aside, perhaps a month of them. For `type = name ORDER BY id` the
# planner may scan the table in the order of ids.
OLDEST_SET_ASIDE = sa.text(f"""
    SELECT {COLUMNS} FROM unnest(CAST(:types AS text[])) AS known (name) JOIN LATERAL (
        SELECT * FROM outbox
        WHERE published_at IS NULL AND returned_at IS NOT NULL AND type >= name ORDER BY type, id LIMIT 1
    ) AS oldest ON type = name
""")  # noqa: S608 - the columns are constants

TAKE_UP = sa.text("""
    SET LOCAL synchronous_commit = off;
    WITH next AS (
        SELECT id FROM outbox
        WHERE published_at IS NULL AND returned_at IS NOT NULL AND type = :type AND id > :after ORDER BY id LIMIT :limit
    ), taken_up AS (
        UPDATE outbox SET returned_at = NULL FROM next WHERE outbox.id = next.id
    )
    SELECT max(id) FROM next
""")


# last_value of an unused sequence is the number of the first row, hence is_called.
HIGHEST_ID = sa.text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM outbox_id_seq")

# Transactions that may have numbered a row. The lock is taken before the number and released after the commit can be
# seen. Unlike the oldest running transaction, this leaves out those that write elsewhere, even in other databases.
WRITERS = sa.text("""
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = CAST('outbox' AS regclass)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid()
""")


class _Floor:
    """The id up to which every row is published or in flight, so that `fetch` need not read those rows again.

    Transactions commit in another order than that of their ids, and one transaction may write thousands of rows. So the
    floor rises in three steps: note the highest id, wait until all transactions of that moment have ended, and wait
    until a later fetch has read all rows up to that id.
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
            # In this order: who numbered a row up to this id is among the writers, or has ended.
            self._target = self._connection.execute(HIGHEST_ID).scalar_one()
            self._writers = self._find_writers()
        elif self._writers:
            self._writers &= self._find_writers()

    def looked(self, *, up_to: int | None) -> None:
        """Raise the floor if possible. Call this after each fetch.

        Args:
            up_to: The highest id that was fetched; None if the fetch returned all rows.
        """
        ended = self._writers is not None and not self._writers
        if ended and (up_to is None or up_to > self._target):
            self.id = self._target
            self._writers = None

    def sink(self) -> None:
        """Let the next fetch read all rows."""
        self.id = 0
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
        driver = connection.connection.driver_connection
        assert isinstance(driver, WatchedConnection)  # noqa: S101 - `create_engine` makes no other
        self._driver = driver
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
        self._connection.execute(
            sa.text(f"LISTEN {CHANNEL}; SET idle_session_timeout = '{round(self._lease * 1000)}ms'")
        )
        return True

    def fetch(self, limit: int, in_flight: Collection[int]) -> list[OutgoingEvent]:
        """Return the next events to publish, except those in flight. Each product's events are in order of sequence."""
        self._floor.look()
        rows = self._connection.execute(
            FETCH, {"floor": self._floor.id, "in_flight": array(list(in_flight)), "limit": limit}
        )
        events = [outgoing_event(*row) for row in rows]
        self._floor.looked(up_to=events[-1].id if len(events) == limit else None)
        if events:
            self._commit_synchronously()
        return events

    def start_over(self) -> None:
        """Make `fetch` return unmarked events again, even those in flight before."""
        self._floor.sink()

    def mark_published(self, ids: Collection[int]) -> None:
        """Mark these events as published."""
        self._connection.execute(MARK_PUBLISHED, {"ids": array(sorted(ids))})

    def set_aside(self, ids: Collection[int]) -> None:
        """Exclude these events from `fetch` until `take_up`, since no queue is bound for them."""
        self._connection.execute(SET_ASIDE, {"ids": array(sorted(ids))})

    def oldest_set_aside(self) -> list[OutgoingEvent]:
        """Return the first event set aside of each type."""
        rows = self._connection.execute(OLDEST_SET_ASIDE, {"types": array(wire.EVENT_TYPES)})
        return [outgoing_event(*row) for row in rows]

    def take_up(self, types: Collection[str]) -> None:
        """Make `fetch` return the events of these types that were set aside."""
        for type_ in sorted(types):
            last: int | None = 0
            while last is not None:
                last = self._connection.execute(
                    TAKE_UP, {"type": type_, "after": last, "limit": _TAKEN_UP_AT_A_TIME}
                ).scalar_one()
        self._floor.sink()

    def _commit_synchronously(self) -> None:
        """Wait until no failover can lose the rows that were fetched.

        After a crash the server may show rows that no standby has. If such an event were published and then lost in a
        failover, another event would get its sequence and message_id.
        """
        self._driver.notices.clear()
        try:
            with self._driver.cursor() as cursor:
                cursor.execute(_SYNCHRONOUS_COMMIT.format(level=self._driver.commit_level))
                backend, reader, _ = cursor.fetchone() or (None, None, None)
        except psycopg2.Error as error:
            raise translated(error) from error
        # The server translates its notices, so their text is not compared. No other notice is possible here.
        if self._driver.notices:
            raise StoreUnavailableError(f"The wait for a standby was cancelled: {self._driver.notices[-1].strip()}")
        if self._session not in {None, (backend, reader)}:
            raise StoreUnavailableError(_SHARED)

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


def outgoing_event(
    id_: int,
    message_id: str,
    type_: str,
    body: str,
    correlation_id: str,
    causation_id: str,
    traceparent: str | None,
    timestamp: int,
) -> OutgoingEvent:
    """Return the event for the values of COLUMNS."""
    return OutgoingEvent(
        id_,
        wire.routing_key(type_),
        body.encode(),
        message_id,
        type_,
        correlation_id,
        causation_id,
        traceparent,
        timestamp,
    )


@contextmanager
def open_pending(engine: Engine, *, lease: float) -> Iterator[PendingEvents]:
    """Open a session with the outbox. Its lock is released at the end, and after a silence of `lease` seconds."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            yield PendingEvents(connection, lease=lease)
        finally:
            # In the pool, the connection would keep the lock.
            connection.invalidate()
