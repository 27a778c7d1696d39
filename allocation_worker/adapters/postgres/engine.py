"""Connections to PostgreSQL, with time limits on all that can hang, and its errors in our words."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from allocation_worker.adapters.postgres.address import parse
from allocation_worker.adapters.postgres.watchdog import Watchdog, WatchedConnection
from allocation_worker.service_layer.ports import StoreContentionError, StoreError, StoreUnavailableError

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_CONTENTION = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available: lock_timeout ran out
    "23505",  # unique_violation: another transaction has just brought the same product or batch
}
_UNAVAILABLE = {
    "25006",  # read_only_sql_transaction: connected to a standby
    "25P03",  # idle_in_transaction_session_timeout
    "57014",  # query_canceled: statement_timeout ran out
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    "57P05",  # idle_session_timeout
}
_UNAVAILABLE_CLASSES = {
    "08",  # connection_exception
    "28",  # invalid_authorization: a password under rotation
    "53",  # insufficient_resources: disk full, out of memory, too many connections
    "58",  # system_error
}

# How libpq begins when there is no connection.
_NO_CONNECTION = ("connection to server ", "could not translate host name ", "invalid port number")

# What cannot pass by itself: what the server or libpq says, what it means, and where to look.
_REFUSALS = (
    (
        "authentication failed|no password supplied|no pg_hba.conf entry|role .* does not exist|not permitted to log",
        "The database refuses the login",
        "the user and the password",
    ),
    ("database .* does not exist", "There is no such database", "its name"),
    ("permission denied for database", "The database refuses this user", "the user"),
    (
        "certificate|does not support SSL|SSL error|private key file",
        "The database's TLS does not fit",
        "sslmode and the certificates",
    ),
)

# How long, in seconds, the other side's kernel may be silent.
_NETWORK_AWAY = 20
# How many times its statement_timeout a call may take. Not 1: the server, who knows more, is to be first.
_PATIENCE = 1.5


def create_engine(
    url: str,
    *,
    application_name: str,
    statement_timeout: int | None = 30,
    lock_timeout: int = 5,
    idle_timeout: int = 60,
    pool_size: int = 4,
) -> Engine:
    """An engine whose errors are StoreError and its kinds. It connects when it is first used.

    Timeouts are in seconds, and kept by the server; `idle_timeout` is for a transaction that does nothing. A call that
    takes half as long again as a statement may is ended from this side, for its answer will not come. Without a
    `statement_timeout` neither side ends any.
    """
    address = parse(url)
    arguments: dict[str, Any] = _connect_args(application_name) | dict(address.arguments)
    own_options = _session_options(statement_timeout or 0, lock_timeout, idle_timeout)
    # The address's own come first, for of two settings of one name the server takes the last.
    arguments["options"] = f"{arguments.get('options', '')} {own_options}".strip()
    if statement_timeout is not None:
        arguments["connection_factory"] = Watchdog(_PATIENCE * statement_timeout).connect
    engine = sa.create_engine(
        _sqlalchemy_url(address.arguments),
        # libpq gets the address from us: SQLAlchemy has another form for several hosts, and merges no `options`.
        creator=partial(psycopg2.connect, **arguments),
        poolclass=_Pool,
        # Higher would let a locked row be read from a snapshot older than its lock, and oversell.
        isolation_level="READ COMMITTED",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
    )
    sa.event.listen(engine, "handle_error", _translate)
    return engine


def _sqlalchemy_url(arguments: Mapping[str, str]) -> URL:
    """Return what `Engine.url` tells of an address."""
    port = arguments.get("port", "")
    return URL.create(
        "postgresql+psycopg2",
        username=arguments.get("user"),
        password=arguments.get("password"),
        host=arguments.get("host"),
        port=int(port) if port.isdigit() else None,
        database=arguments.get("dbname"),
    )


@contextmanager
def patient(connection: Connection, statement_timeout: float) -> Iterator[None]:
    """Let calls of this connection take longer than the engine's would: half as long again as a statement may."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, WatchedConnection):
        yield
        return
    before, driver.limit = driver.limit, _PATIENCE * statement_timeout
    try:
        yield
    finally:
        driver.limit = before


def _connect_args(application_name: str) -> dict[str, Any]:
    return {
        "application_name": application_name,
        "connect_timeout": 5,
        # Often enough that no firewall takes the connection for an unused one.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        # What was sent and is not acknowledged: keepalives begin only after that. In milliseconds, as the server's.
        "tcp_user_timeout": _NETWORK_AWAY * 1000,
    }


def _session_options(statement_timeout: int, lock_timeout: int, idle_timeout: int) -> str:
    options = {
        "statement_timeout": f"{statement_timeout}s",
        "lock_timeout": f"{lock_timeout}s",
        "idle_in_transaction_session_timeout": f"{idle_timeout}s",
        # A client that vanished without a word must not hold its locks for two hours, the system's default.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": f"{_NETWORK_AWAY}s",
        # What is read is in memory; at the default of 4, tables of some 10,000 rows are read whole for each group.
        "random_page_cost": "1.1",
        "jit": "off",
    }
    return " ".join(f"-c {name}={value}" for name, value in options.items())


class _Pool(QueuePool):
    """Its own errors do not pass by `handle_error`."""

    def connect(self) -> PoolProxiedConnection:
        try:
            return super().connect()
        except PoolTimeoutError as error:
            raise StoreUnavailableError(str(error)) from error


def _translate(context: ExceptionContext) -> None:
    error = context.original_exception
    if isinstance(error, StoreError) or not isinstance(error, Exception):  # Ctrl-C is nobody's error
        return
    raise translated(error, disconnected=context.is_disconnect) from error


def translated(error: BaseException, *, disconnected: bool = False) -> StoreError:
    """The same failure in our words."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code: str = getattr(cause, "pgcode", None) or ""
    sentence = " ".join(str(cause).split())
    if code in _CONTENTION:
        return StoreContentionError(sentence)
    connecting = not code and type(cause).__name__ in {"OperationalError", "InterfaceError"}
    if connecting and sentence.startswith(_NO_CONNECTION):
        return StoreUnavailableError(_unreachable(str(cause)))
    if disconnected or connecting or code in _UNAVAILABLE or code[:2] in _UNAVAILABLE_CLASSES:
        return StoreUnavailableError(sentence)
    return StoreError(f"{' '.join(filter(None, (type(cause).__name__, code)))}: {sentence}")


def _unreachable(told: str) -> str:
    """Return a sentence from what libpq tells of each address that it has tried.

    Its hints, which begin with a tab, are left out. It gives no SQLSTATE for a connection, only the server's text.
    """
    tried = "; ".join(line.strip() for line in told.splitlines() if line.strip() and not line.startswith("\t"))
    for pattern, begin, look_at in _REFUSALS:
        if re.search(pattern, tried):
            return f"{begin} ({tried}); look at {look_at} in ALLOCATION_DATABASE_URL."
    return f"The database cannot be reached ({tried}); look whether it runs there, and at ALLOCATION_DATABASE_URL."


def array(values: Sequence[Any]) -> str:
    """An array of values of one type, or None, in PostgreSQL's own notation, to be cast in the statement.

    psycopg2 adapts a list element by element; this takes half the time for 250 rows.

    Raises:
        ValueError: a text holds NUL, which PostgreSQL has no place for.
    """
    if None not in values:
        kind = type(values[0]) if values else int
        if kind is int or kind is bool:
            return "{" + ",".join(map(str, values)) + "}"
        if kind is str:
            return _texts(values)
    return "{" + ",".join(map(_element, values)) + "}"


def _texts(values: Sequence[str]) -> str:
    """All at one go: a call for each would take longer than the statement."""
    joined = "\0".join(values)
    if joined.count("\0") != len(values) - 1:
        raise ValueError("A text with NUL in it cannot be stored.")
    escaped = joined.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","')
    return f'{{"{escaped}"}}'


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if type(value) is int:
        return str(value)
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
