"""Ends database calls that never return, by shutting down their sockets.

The server enforces the statement_timeout. If the server is frozen, or its answer is lost on the way, it cannot. TCP
timeouts do not help either: the kernel of a frozen server still acknowledges. Nothing inside libpq can be interrupted,
so another thread shuts down the socket, and the call fails like any lost connection.

A statement may take long, and a frozen server should be left soon. So during a long call the watchdog asks the server
for a sign of life, which a busy server gives and a frozen one does not.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any
from weakref import ReferenceType, ref

import structlog
from psycopg2 import OperationalError
from psycopg2.extensions import STATUS_READY, connection, cursor
from sqlalchemy.engine import Connection

log = structlog.get_logger()

_LONGEST_PAUSE = 1.0
_PROBE_AFTER = 10.0
_PROBE_EVERY = 5.0
_PROBE_TIMEOUT = 5.0
# "Do you speak TLS?" Every server and pooler answers it at once, before it asks who is there.
_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)


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

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:  # noqa: ANN401 - psycopg2's own signature
        """Copy rows. It may be the first statement of its transaction."""
        watched = self.connection
        if watched.status == STATUS_READY and not watched.autocommit:
            sql = watched.each_transaction + sql
        watched.deadlines[watched] = monotonic() + watched.limit
        try:
            super().copy_expert(sql, file, size)
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
        lock_timeout: The longest wait for a lock, as the server shows it.
        commit_level: The `synchronous_commit` of each transaction.
    """

    def __init__(self, dsn: str, deadlines: "dict[WatchedConnection, float]", limit: float) -> None:
        super().__init__(dsn)
        self.cursor_factory = _Cursor
        self.deadlines = deadlines
        self.limit = limit
        self.each_transaction = ""
        self.commit_level = "on"
        self.lock_timeout = "0"
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


def watched_connection(connection: Connection) -> WatchedConnection:
    """Return the driver's connection below one of SQLAlchemy's."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, WatchedConnection):
        raise TypeError("The connection does not come from an engine of `create_engine`.")
    return driver


class Watchdog:
    """Creates connections, and watches them in a thread that ends once the watchdog is garbage-collected.

    Args:
        limit: The longest time for a call, in seconds; infinite for no limit. Each connection starts with it.
        probe_after: The duration of a call after which the server must give a sign of life, in seconds.
    """

    def __init__(self, limit: float, *, probe_after: float = _PROBE_AFTER) -> None:
        self._limit = limit
        self._probe_after = probe_after
        self._probe_due = 0.0
        self._deadlines: dict[WatchedConnection, float] = {}
        self._starting = Lock()
        self._started = False

    def connect(self, dsn: str) -> WatchedConnection:
        """Connect. Pass this method to psycopg2 as `connection_factory`."""
        made = WatchedConnection(dsn, self._deadlines, self._limit)
        with self._starting:
            if not self._started and self._limit < inf:
                self._started = True
                pause = min(self._limit, self._probe_after) / 4
                Thread(target=_watch, args=(ref(self), pause), name="watchdog", daemon=True).start()
        return made

    def look(self) -> None:
        """End the calls that are past their deadlines, and the long calls to a server that gives no sign of life."""
        now = monotonic()
        long_calls: list[tuple[WatchedConnection, float]] = []
        for watched, deadline in list(self._deadlines.items()):
            if deadline < now:
                self._abandon(watched, deadline)
            elif now - (deadline - watched.limit) > self._probe_after:
                long_calls.append((watched, deadline))
        if long_calls and now > self._probe_due:
            # All connections of an engine lead to one server at a time, but for the moments of a failover.
            silent = {peer for peer in {_peer(watched) for watched, _ in long_calls} if peer and not _is_alive(peer)}
            for watched, deadline in long_calls:
                if _peer(watched) in silent:
                    self._abandon(watched, deadline)
            self._probe_due = monotonic() + _PROBE_EVERY

    def _abandon(self, watched: WatchedConnection, deadline: float) -> None:
        if self._deadlines.get(watched) == deadline:  # otherwise the call has returned
            self._deadlines.pop(watched, None)
            seconds = round(monotonic() - (deadline - watched.limit), 1)
            log.error("database_call_abandoned", seconds=seconds)
            _shut_down(watched)


def _watch(reference: ReferenceType[Watchdog], pause: float) -> None:
    while (watchdog := reference()) is not None:
        watchdog.look()
        del watchdog
        sleep(min(_LONGEST_PAUSE, pause))


def _is_alive(peer: tuple[socket.AddressFamily, Any]) -> bool:
    """Return whether a server answers or refuses. One that is off the network is left to the kernel's own limits."""
    family, address = peer
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_TIMEOUT)
            probe.connect(address)
            probe.sendall(_SSL_REQUEST)
            probe.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def _peer(watched: WatchedConnection) -> tuple[socket.AddressFamily, Any] | None:
    """Return the address of the server; None if the connection is closed."""
    with suppress(OSError), _twin(watched) as twin:
        return twin.family, twin.getpeername()
    return None


def _shut_down(watched: WatchedConnection) -> None:
    with suppress(OSError), _twin(watched) as twin:
        twin.shutdown(socket.SHUT_RDWR)


@contextmanager
def _twin(watched: WatchedConnection) -> Iterator[socket.socket]:
    """Duplicate the socket of a connection.

    The call may return at any moment, and its descriptor may be closed and reused. So this works on a duplicate that no
    other thread closes.

    Raises:
        OSError: The descriptor is closed, or is another's.
    """
    with socket.socket(fileno=os.dup(watched.descriptor)) as twin:
        if os.fstat(twin.fileno()).st_ino != watched.inode:
            raise OSError("The descriptor was reused.")
        yield twin
