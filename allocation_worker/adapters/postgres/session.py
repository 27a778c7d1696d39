"""Prepares a new session of PostgreSQL: what the guarantees need is set, and checked in a later transaction.

A session may start with settings of `ALTER DATABASE ... SET` or `ALTER ROLE ... SET`, and a connection pooler may drop
settings, or give each transaction another session. What cannot be had is refused.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import closing

import psycopg2
import structlog
from psycopg2.extensions import cursor

from allocation_worker.adapters.postgres.errors import translated
from allocation_worker.adapters.postgres.watchdog import WatchedConnection
from allocation_worker.service_layer.ports import StoreUnavailableError

log = structlog.get_logger()

NETWORK_AWAY = 10
"""The longest silence of the peer's kernel, in seconds.

Much shorter than the time that a failover takes, so that it is over by then, and longer than a hiccup of the network.
"""

NOT_ONE_SESSION = (
    "The connection pooler in front of the database does not keep one session for each client ({why}); set its "
    "pool_mode to session for this database, or have ALLOCATION_DATABASE_URL name the database server itself."
)
TRANSACTION_POOLING = "it gives each transaction another one, as with pool_mode = transaction"

_STATEMENT_POOLING = "it ends a connection that begins a transaction, as with pool_mode = statement"

# A value of ALTER DATABASE or ALTER ROLE can be weaker. A stronger one is kept: only `remote_apply` is.
_SYNCHRONOUS_COMMIT = "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END"
# Not `standard_conforming_strings`: psycopg2 reads it when it connects, and quotes rightly for either value.
_SETTINGS = {
    "client_encoding": "UTF8",
    # With `off`, NULL in an array is the text 'NULL'.
    "array_nulls": "on",
    "bytea_output": "hex",
    "datestyle": "ISO, MDY",
    # At a higher level, the relay's statements could fail because of the commits of others.
    "default_transaction_isolation": "read committed",
    # A policy that hides rows makes a statement fail, so that no rows are missing unnoticed.
    "row_security": "off",
    # Otherwise the server may not tell that the wait of a COMMIT for a standby was cancelled; see `WatchedConnection`.
    "client_min_messages": "warning",
    # The pool keeps idle sessions. The active relay sets its own limit.
    "idle_session_timeout": "0",
    # A large group or a long read may take many statements, each with its own limit.
    "transaction_timeout": "0",
    # A client that vanished must not hold its locks for two hours, the system's default.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": f"{NETWORK_AWAY}s",
    # The data are in memory. At the default of 4, the planner scans tables of some 10,000 rows for each group.
    "random_page_cost": "1.1",
    "jit": "off",
}
# The version of the server in which a setting is new.
_SINCE = {"transaction_timeout": 170_000}
# The SQLSTATE classes of an unknown setting, a wrong value and a missing privilege.
_SETTING_REFUSED = ("22", "42", "55")
# How often the sessions are compared. A pooler may hand them out in turn.
_LOOKS = 3
# The encodings of a database that can hold every text.
_ENCODINGS = ("UTF8", "SQL_ASCII")

_SET = "SELECT name, set_config(name, value, false) FROM (VALUES {}) AS wanted (name, value)"
_IN_FORCE = "SELECT name, current_setting(name, true) FROM unnest(%s::text[]) AS name"
_BACKEND = "SELECT pg_backend_pid()"

# Sent with the first statement of each transaction. A pooler that shares sessions between clients, unnoticed, then
# cannot make a commit weaker or an array mean something else.
_EACH_TRANSACTION = (
    "SET LOCAL synchronous_commit = {level}; SET LOCAL client_min_messages = warning; SET LOCAL array_nulls = on; "
)

_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=((?:\\.|[^\s\\])*)(?:\s+|$)")
_ESCAPED = re.compile(r"\\(.)")


def split_options(options: str) -> tuple[dict[str, str], str]:
    """Return the settings of libpq's `options`, by name, and what is left.

    A pooler drops or refuses `options`. Settings can be made after connecting.
    """
    found: dict[str, str] = {}
    rest = options.lstrip()
    while match := _OPTION.match(rest):
        found[match[1].replace("-", "_")] = _ESCAPED.sub(r"\1", match[2])
        rest = rest[match.end() :]
    return found, rest


class SessionSettings:
    """Settings that each session of an engine must have.

    Args:
        chosen: Settings of the user, by name. Those of the program win.
        statement_timeout: The limit for a statement, in seconds; 0 for none.
        lock_timeout: The limit for waiting for a lock, in seconds.
        idle_timeout: The limit for an idle transaction, in seconds.
    """

    def __init__(
        self, chosen: Mapping[str, str], *, statement_timeout: int, lock_timeout: int, idle_timeout: int
    ) -> None:
        self._chosen = dict(chosen)
        self._own = {
            **_SETTINGS,
            "statement_timeout": f"{statement_timeout}s",
            "lock_timeout": f"{lock_timeout}s",
            "idle_in_transaction_session_timeout": f"{idle_timeout}s",
        }
        self._waits_for: tuple[str, str] | None = None

    def prepare(self, connection: WatchedConnection, connect: Callable[[], WatchedConnection]) -> None:
        """Prepare a new session.

        Args:
            connection: The connection, in no transaction.
            connect: Opens another one in the same way, without preparing it.

        Raises:
            StoreUnavailableError: The server refuses a setting, or a pooler does not keep the session. The text says
                what to do.
        """
        try:
            connection.autocommit = True
            with connection.cursor() as here:
                if _first(here, _BACKEND) != connection.info.backend_pid:
                    _check_pooler(here, connect)
                    # Another client may have left anything behind, even an advisory lock.
                    here.execute("DISCARD ALL")
                in_force = self._set(connection, here)
                standbys = _check(here, in_force)
                level = in_force["synchronous_commit"]
                self._tell(level, standbys)
            connection.autocommit = False
        except psycopg2.Error as error:
            raise translated(error) from error
        connection.commit_level = level
        connection.lock_timeout = in_force["lock_timeout"]
        connection.each_transaction = _EACH_TRANSACTION.format(level=level)

    def _tell(self, level: str, standbys: str) -> None:
        """Log it if commits wait for others than those of the session before, as on another server after a failover."""
        before, self._waits_for = self._waits_for, (level, standbys)
        if before not in {None, self._waits_for}:
            log.info("durability_changed", synchronous_commit=level, synchronous_standby_names=standbys, before=before)

    def _set(self, connection: WatchedConnection, here: cursor) -> dict[str, str]:
        """Set everything. Return the values as the server shows them."""
        version = connection.server_version
        own = {name: value for name, value in self._own.items() if version >= _SINCE.get(name, 0)}
        shown = _set(here, self._chosen) if self._chosen else {}
        return shown | _set(here, own, f"('synchronous_commit', {_SYNCHRONOUS_COMMIT})")


def _set(here: cursor, settings: Mapping[str, str], *more: str) -> dict[str, str]:
    values = ", ".join(["(%s, %s)"] * len(settings) + list(more))
    try:
        here.execute(_SET.format(values), [part for setting in settings.items() for part in setting])
    except psycopg2.Error as error:
        if (error.pgcode or "")[:2] in _SETTING_REFUSED:
            raise StoreUnavailableError(
                f"The database refuses a setting of the session ({_one_line(error)}); look at the options in "
                "ALLOCATION_DATABASE_URL, and at what this user may set."
            ) from error
        raise
    return dict(here.fetchall())


def _check(here: cursor, wanted: Mapping[str, str]) -> str:
    """Check, in another transaction, that the session has what was set. Return the names of the standbys."""
    here.execute(_IN_FORCE, [[*wanted, "server_encoding", "synchronous_standby_names"]])
    found: dict[str, str] = dict(here.fetchall())
    for name, value in wanted.items():
        if found.get(name) != value:
            raise StoreUnavailableError(
                NOT_ONE_SESSION.format(why=f"{name} was set to {value!r} and is {found.get(name)!r}")
            )
    if found["server_encoding"] not in _ENCODINGS:
        raise StoreUnavailableError(
            f"The database has the encoding {found['server_encoding']}, which cannot hold every text; create it with "
            "the encoding UTF8."
        )
    return found["synchronous_standby_names"]


def _check_pooler(here: cursor, connect: Callable[[], WatchedConnection]) -> None:
    """Check that a pooler keeps one session for each client.

    Of a pooler that shares sessions between transactions, two clients see it: while one is in a transaction, the other
    cannot get that session; and at rest they get the same one. Further clients may have a session for a moment, and so
    hide this from a single look.
    """
    try:
        here.execute("BEGIN")
        here.execute("COMMIT")
    except psycopg2.OperationalError as error:
        raise StoreUnavailableError(NOT_ONE_SESSION.format(why=_STATEMENT_POOLING)) from error
    ours = {_first(here, _BACKEND) for _ in range(_LOOKS)}
    theirs: set[object] = set()
    with closing(connect()) as other, other.cursor() as there:
        for _ in range(_LOOKS):
            theirs.add(_first(there, _BACKEND))  # its transaction stays open
            # If it is the same one, and there is no other, the next statement here would wait for it.
            if not ours & theirs:
                ours.add(_first(here, _BACKEND))
            other.rollback()
            ours.add(_first(here, _BACKEND))
    if len(ours) > 1 or len(theirs) > 1 or ours & theirs:
        raise StoreUnavailableError(NOT_ONE_SESSION.format(why=TRANSACTION_POOLING))


def _first(here: cursor, statement: str) -> object:
    here.execute(statement)
    row = here.fetchone()
    return row and row[0]


def _one_line(error: psycopg2.Error) -> str:
    return " ".join(str(error).split())
