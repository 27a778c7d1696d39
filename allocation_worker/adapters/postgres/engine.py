"""Connect to PostgreSQL, with time limits on everything that can hang."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import inf
from time import monotonic
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from allocation_worker.adapters.postgres.address import parse
from allocation_worker.adapters.postgres.errors import READ_ONLY, translated
from allocation_worker.adapters.postgres.session import NETWORK_AWAY, SessionSettings, split_options
from allocation_worker.adapters.postgres.watchdog import Watchdog, WatchedConnection, watched_connection
from allocation_worker.adapters.postgres.writer import send_rows_of_copy
from allocation_worker.service_layer.ports import StoreError, StoreUnavailableError

# The limit of a call, in multiples of its statement_timeout. Above 1, so that the server's own error comes first.
_PATIENCE = 1.5


def create_engine(
    url: str | Callable[[], str],
    *,
    application_name: str,
    statement_timeout: int | None = 30,
    lock_timeout: int = 5,
    idle_timeout: int = 60,
    pool_size: int = 4,
) -> Engine:
    """Return an engine whose errors are StoreError or its subclasses. It connects when it is first used.

    The server enforces the timeouts, in seconds. The client ends a call after one and a half times the
    `statement_timeout`, in case the server does not answer. Each session is prepared as in `SessionSettings.prepare`.

    Args:
        url: The address, as `address.parse` reads it, or what gives it for each new connection.
        application_name: The name that PostgreSQL shows for the connections.
        statement_timeout: The limit for a statement; None for no limit on either side.
        lock_timeout: The limit for waiting for a lock.
        idle_timeout: The limit for an idle transaction.
        pool_size: The most connections.

    Raises:
        AddressError: The address is invalid.
    """
    latest = url if callable(url) else lambda: url
    address = parse(latest())
    chosen, options = split_options(address.arguments.get("options", ""))
    settings = SessionSettings(
        chosen, statement_timeout=statement_timeout or 0, lock_timeout=lock_timeout, idle_timeout=idle_timeout
    )
    limit = inf if statement_timeout is None else _PATIENCE * statement_timeout
    own = {"client_encoding": "UTF8", "options": options, "connection_factory": Watchdog(limit).connect}

    def connect() -> WatchedConnection:
        arguments = _connect_args(application_name) | dict(parse(latest()).arguments) | own
        connection: WatchedConnection = psycopg2.connect(**arguments)
        return connection

    engine = sa.create_engine(
        _sqlalchemy_url(address.arguments),
        # The address goes straight to libpq: SQLAlchemy has another form for several hosts, and merges no `options`.
        creator=partial(_connect, connect, settings),
        poolclass=_Pool,
        # At a higher level, a locked row could be read from a snapshot older than its lock, and be oversold.
        isolation_level="READ COMMITTED",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
    )
    sa.event.listen(engine, "handle_error", _translate)
    sa.event.listen(engine, "do_execute", send_rows_of_copy)
    return engine


def _sqlalchemy_url(arguments: Mapping[str, str]) -> URL:
    """Return the URL that `Engine.url` shows for an address."""
    port = arguments.get("port", "")
    return URL.create(
        "postgresql+psycopg2",
        username=arguments.get("user"),
        password=arguments.get("password"),
        host=arguments.get("host"),
        port=int(port) if port.isdigit() else None,
        database=arguments.get("dbname"),
    )


def observe_connections(engine: Engine, waited: Callable[[float], None]) -> None:
    """Have `waited` called with the seconds that it took to get a connection, each time."""
    if isinstance(engine.pool, _Pool):
        engine.pool.waited = waited


@contextmanager
def patient(connection: Connection, statement_timeout: float) -> Iterator[None]:
    """Raise the limit for calls of this connection, to one and a half times the given `statement_timeout`."""
    driver = watched_connection(connection)
    before, driver.limit = driver.limit, _PATIENCE * statement_timeout
    try:
        yield
    finally:
        driver.limit = before


def _connect_args(application_name: str) -> dict[str, Any]:
    return {
        "application_name": application_name,
        "connect_timeout": 5,
        # Often enough that no firewall drops the connection as unused.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        # For unacknowledged data, which keepalives do not cover. In milliseconds.
        "tcp_user_timeout": NETWORK_AWAY * 1000,
    }


def _connect(connect: Callable[[], WatchedConnection], settings: SessionSettings) -> WatchedConnection:
    connection = connect()
    try:
        settings.prepare(connection, connect)
    except BaseException:
        connection.close()
        raise
    return connection


class _Pool(QueuePool):
    """A pool that translates its own timeout, which `handle_error` does not see.

    Attributes:
        waited: Called with the seconds that it took to get a connection; None if nobody asks.
    """

    waited: Callable[[float], None] | None = None

    def connect(self) -> PoolProxiedConnection:
        if self.waited is None:
            return self._connect()
        began = monotonic()
        try:
            return self._connect()
        finally:
            self.waited(monotonic() - began)

    def recreate(self) -> "_Pool":
        fresh = super().recreate()
        assert isinstance(fresh, _Pool)  # noqa: S101 - it is of the same class
        fresh.waited = self.waited
        return fresh

    def _connect(self) -> PoolProxiedConnection:
        try:
            return super().connect()
        except PoolTimeoutError as error:
            raise StoreUnavailableError(str(error)) from error


def _translate(context: ExceptionContext) -> None:
    error = context.original_exception
    if isinstance(error, StoreError) or not isinstance(error, Exception):  # such as KeyboardInterrupt
        return
    if getattr(error, "pgcode", None) == READ_ONLY:
        # A server that was demoted keeps its connections. Each one would fail for ever; a new one may find the primary.
        context.is_disconnect = True
    raise translated(error, disconnected=context.is_disconnect) from error
