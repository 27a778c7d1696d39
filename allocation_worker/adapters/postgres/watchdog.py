"""Ends database calls that never return, by shutting down their sockets.

The server enforces the statement_timeout. If the server is frozen, or its answer is lost on the way, it cannot. TCP
timeouts do not help either: the kernel of a frozen server still acknowledges. Nothing inside libpq can be interrupted,
so another thread shuts down the socket, and the call fails like any lost connection.
"""

import os
import socket
from contextlib import suppress
from math import inf
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any
from weakref import ReferenceType, ref

import structlog
from psycopg2 import OperationalError
from psycopg2.extensions import STATUS_READY, connection, cursor

log = structlog.get_logger()

_LONGEST_PAUSE = 1.0


class _Cursor(cursor):
    connection: "WatchedConnection"

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002, ANN401 - psycopg2's own signature
        watched = self.connection
        if watched.status == STATUS_READY and not watched.autocommit:
            if self.name is None:  # one round trip for both
                query = watched.each_transaction + query
            else:  # DECLARE takes one statement
                with watched.cursor() as first:
                    first.execute("SELECT 1")
        watched.deadlines[watched] = monotonic() + watched.limit
        try:
            super().execute(query, vars)
        finally:
            watched.deadlines.pop(watched, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Fetch the next rows. Each fetch counts as a call."""
        watched = self.connection
        watched.deadlines[watched] = monotonic() + watched.limit
        try:
            return super().fetchmany(size)
        finally:
            watched.deadlines.pop(watched, None)


class WatchedConnection(connection):
    """A connection that registers a deadline for each call, in less than a microsecond.

    Args:
        dsn: The connection string of libpq.
        deadlines: The connections that are in a call, and the deadline of each; shared with the watchdog.
        limit: The longest time for a call, in seconds. It may be changed between calls.

    Attributes:
        each_transaction: Statements that are sent with the first statement of each transaction, which is text.
        commit_level: The `synchronous_commit` of each transaction.
    """

    def __init__(self, dsn: str, deadlines: "dict[WatchedConnection, float]", limit: float) -> None:
        super().__init__(dsn)
        self.cursor_factory = _Cursor
        self.deadlines = deadlines
        self.limit = limit
        self.each_transaction = ""
        self.commit_level = "on"
        self.descriptor = self.fileno()
        self.inode = os.fstat(self.descriptor).st_ino

    def commit(self) -> None:
        """Commit.

        If the wait for a synchronous standby is cancelled, COMMIT succeeds, and the server sends a notice. The
        transaction may be lost in a failover, so its outcome is unknown. Every notice counts, because its text is in
        the server's language.

        Raises:
            psycopg2.OperationalError: The outcome is unknown. The connection is closed.
        """
        self.notices.clear()
        self.deadlines[self] = monotonic() + self.limit
        try:
            super().commit()
        finally:
            self.deadlines.pop(self, None)
        if self.notices:
            self.close()
            raise OperationalError(f"The outcome of COMMIT is unknown: {self.notices[-1].strip()}")

    def rollback(self) -> None:
        self.deadlines[self] = monotonic() + self.limit
        try:
            super().rollback()
        finally:
            self.deadlines.pop(self, None)


class Watchdog:
    """Creates connections, and watches them in a thread that ends once the watchdog is garbage-collected.

    Args:
        limit: The longest time for a call, in seconds; infinite for no limit. Each connection starts with it.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._deadlines: dict[WatchedConnection, float] = {}
        self._starting = Lock()
        self._started = False

    def connect(self, dsn: str) -> WatchedConnection:
        """Connect. Pass this method to psycopg2 as `connection_factory`."""
        made = WatchedConnection(dsn, self._deadlines, self._limit)
        with self._starting:
            if not self._started and self._limit < inf:
                self._started = True
                Thread(target=_watch, args=(ref(self), self._limit / 4), name="watchdog", daemon=True).start()
        return made

    def look(self) -> None:
        """End the calls that are past their deadlines."""
        now = monotonic()
        for watched, deadline in list(self._deadlines.items()):
            if deadline < now:
                self._deadlines.pop(watched, None)
                log.error("database_call_abandoned", seconds=watched.limit)
                _shut_down(watched)


def _watch(reference: ReferenceType[Watchdog], pause: float) -> None:
    while (watchdog := reference()) is not None:
        watchdog.look()
        del watchdog
        sleep(min(_LONGEST_PAUSE, pause))


def _shut_down(watched: WatchedConnection) -> None:
    # The call may return at any moment, and its descriptor may be closed and reused. So this works on a duplicate that
    # no other thread closes.
    with suppress(OSError), socket.socket(fileno=os.dup(watched.descriptor)) as twin:
        if os.fstat(twin.fileno()).st_ino == watched.inode:
            twin.shutdown(socket.SHUT_RDWR)
