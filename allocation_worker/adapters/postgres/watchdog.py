"""Ends a call to the database that never returns, by shutting its connection down.

The statement_timeout is kept by the server. Where the server is frozen, or something on the way swallows its answer,
nobody keeps it; and TCP's own timeouts notice a peer whose kernel is silent, not one that acknowledges and says no
more. A thread that waits inside libpq can be freed from outside only: its socket is shut down, and the call fails as it
does whenever a connection is lost.
"""

import os
import socket
from contextlib import suppress
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any
from weakref import ReferenceType, ref

import structlog
from psycopg2.extensions import connection, cursor

log = structlog.get_logger()

_LONGEST_PAUSE = 1.0


class _Cursor(cursor):
    connection: "WatchedConnection"

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002, ANN401 - psycopg2's own signature
        watched = self.connection
        watched.deadlines[watched] = monotonic() + watched.limit
        try:
            super().execute(query, vars)
        finally:
            watched.deadlines.pop(watched, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Rows of a long answer that is read a few at a time, each few a call of its own."""
        watched = self.connection
        watched.deadlines[watched] = monotonic() + watched.limit
        try:
            return super().fetchmany(size)
        finally:
            watched.deadlines.pop(watched, None)


class WatchedConnection(connection):
    """A connection that tells by when its call is to return. It costs less than a microsecond a call.

    Args:
        dsn: Libpq's connection string.
        deadlines: The connections that are in a call, and by when it is to return; shared with the watchdog.
        limit: The longest that a call may take, in seconds; it may be changed between calls.
    """

    def __init__(self, dsn: str, deadlines: "dict[WatchedConnection, float]", limit: float) -> None:
        super().__init__(dsn)
        self.cursor_factory = _Cursor
        self.deadlines = deadlines
        self.limit = limit
        self.descriptor = self.fileno()
        self.inode = os.fstat(self.descriptor).st_ino

    def commit(self) -> None:
        self.deadlines[self] = monotonic() + self.limit
        try:
            super().commit()
        finally:
            self.deadlines.pop(self, None)

    def rollback(self) -> None:
        self.deadlines[self] = monotonic() + self.limit
        try:
            super().rollback()
        finally:
            self.deadlines.pop(self, None)


class Watchdog:
    """Makes connections, and looks after them in a thread that ends when nobody refers to the watchdog any more.

    Args:
        limit: The longest that a call may take, in seconds, unless its connection says otherwise.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._deadlines: dict[WatchedConnection, float] = {}
        self._starting = Lock()
        self._started = False

    def connect(self, dsn: str) -> WatchedConnection:
        """Connect; psycopg2 takes this for its `connection_factory`."""
        made = WatchedConnection(dsn, self._deadlines, self._limit)
        with self._starting:
            if not self._started:
                self._started = True
                Thread(target=_watch, args=(ref(self), self._limit / 4), name="watchdog", daemon=True).start()
        return made

    def look(self) -> None:
        """End the calls that have taken too long."""
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
    # The call may return, and its descriptor be closed and taken by another, at any moment. So a twin is looked at,
    # which nobody closes but us.
    with suppress(OSError), socket.socket(fileno=os.dup(watched.descriptor)) as twin:
        if os.fstat(twin.fileno()).st_ino == watched.inode:
            twin.shutdown(socket.SHUT_RDWR)
