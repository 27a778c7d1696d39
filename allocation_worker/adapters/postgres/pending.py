"""The outbox, as the relay reads it: what waits to be published, in order, for one reader at a time."""

import select
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from time import monotonic

import sqlalchemy as sa
from psycopg2.extensions import connection as PsycopgConnection  # noqa: N812 - it is a class
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.engine import array, translated
from allocation_worker.adapters.postgres.outbox import CHANNEL
from allocation_worker.service_layer.outgoing import OutgoingEvent

# Any number will do that no one else uses for an advisory lock in this database.
_RELAY_LOCK = 7_140_002
# Transactions commit out of the order in which they numbered their rows; this far back each look sees them.
_LOOK_BACK = 10_000
# And this often, in seconds, a look goes back to the first row. In between it spares the index's dead entries.
_FULL_LOOK_EVERY = 1.0

_COLUMNS = """
    id, message_id::text AS message_id, type, body, correlation_id, causation_id, traceparent,
    extract(epoch FROM created_at)::bigint AS timestamp
"""

FETCH = sa.text(f"""
    SELECT {_COLUMNS} FROM outbox
    WHERE published_at IS NULL AND returned_at IS NULL AND id > :floor AND id <> ALL(CAST(:in_flight AS bigint[]))
    ORDER BY id LIMIT :limit
""")  # noqa: S608 - the columns are constants

MARK_PUBLISHED = sa.text("""
    UPDATE outbox SET published_at = now() WHERE id = ANY(CAST(:ids AS bigint[])) AND published_at IS NULL
""")

SET_ASIDE = sa.text("""
    UPDATE outbox SET returned_at = now() WHERE id = ANY(CAST(:ids AS bigint[])) AND published_at IS NULL
""")

OLDEST_SET_ASIDE = sa.text(f"""
    SELECT DISTINCT ON (type) {_COLUMNS} FROM outbox
    WHERE published_at IS NULL AND returned_at IS NOT NULL ORDER BY type, id
""")  # noqa: S608 - the columns are constants

TAKE_UP = sa.text("""
    UPDATE outbox SET returned_at = NULL
    WHERE published_at IS NULL AND returned_at IS NOT NULL AND type = ANY(CAST(:types AS text[]))
""")


class PendingEvents:
    """A session with the outbox. The lock that makes it the only reader lives and dies with its connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        driver = connection.connection.driver_connection
        assert isinstance(driver, PsycopgConnection)  # noqa: S101 - the engine is made for this driver
        self._driver = driver
        self._highest = 0
        self._full_look_due = 0.0

    def acquire(self) -> bool:
        """Become the one reader; False while another is."""
        # A mark lost in a crash costs a duplicate; waiting for the disk after each would cost half the throughput.
        self._connection.execute(sa.text("SET synchronous_commit = off"))
        taken = self._connection.scalar(sa.text(f"SELECT pg_try_advisory_lock({_RELAY_LOCK})"))
        if taken:
            self._connection.execute(sa.text(f"LISTEN {CHANNEL}"))
        return bool(taken)

    def fetch(self, limit: int, in_flight: Collection[int]) -> list[OutgoingEvent]:
        """The next events to publish, in order, but those in flight.

        Each product's come in the order of its sequence; a row that was committed late, or has failed and is to
        come again, comes within a second.
        """
        rows = self._connection.execute(
            FETCH, {"floor": self._floor(), "in_flight": array(list(in_flight)), "limit": limit}
        )
        events = [_event(row) for row in rows]
        if events:
            self._highest = max(self._highest, events[-1].id)
        return events

    def mark_published(self, ids: Collection[int]) -> None:
        self._connection.execute(MARK_PUBLISHED, {"ids": array(sorted(ids))})

    def set_aside(self, ids: Collection[int]) -> None:
        """These are not wanted by any queue now; `fetch` leaves them out until they are taken up again."""
        self._connection.execute(SET_ASIDE, {"ids": array(sorted(ids))})

    def oldest_set_aside(self) -> list[OutgoingEvent]:
        """The first event set aside of each type."""
        return [_event(row) for row in self._connection.execute(OLDEST_SET_ASIDE)]

    def take_up(self, types: Collection[str]) -> None:
        """Let `fetch` bring the events of these types that were set aside."""
        self._connection.execute(TAKE_UP, {"types": array(sorted(types))})
        self._full_look_due = 0.0

    def wait(self, timeout: float, wake_fd: int) -> None:
        """Return when something was written to the outbox or to `wake_fd`, or after `timeout` seconds."""
        try:
            self._driver.poll()
            if not self._driver.notifies:
                select.select([self._driver.fileno(), wake_fd], [], [], timeout)
                self._driver.poll()
        except Exception as error:
            raise translated(error, disconnected=True) from error
        self._driver.notifies.clear()

    def _floor(self) -> int:
        now = monotonic()
        if now >= self._full_look_due:
            self._full_look_due = now + _FULL_LOOK_EVERY
            return 0
        return max(0, self._highest - _LOOK_BACK)


def _event(row: sa.Row[tuple[object, ...]]) -> OutgoingEvent:
    return OutgoingEvent(
        id=row.id,
        routing_key=wire.routing_key(row.type),
        body=row.body.encode(),
        message_id=row.message_id,
        type=row.type,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        traceparent=row.traceparent,
        timestamp=row.timestamp,
    )


@contextmanager
def open_pending(engine: Engine) -> Iterator[PendingEvents]:
    """A session with the outbox; leaving it gives up the lock."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            yield PendingEvents(connection)
        finally:
            # Back in the pool, the connection would keep the lock.
            connection.invalidate()
