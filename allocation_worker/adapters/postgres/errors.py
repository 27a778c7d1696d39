"""Translate errors of psycopg2 and SQLAlchemy into the errors of the store's ports."""

import re
from typing import Final

from sqlalchemy.exc import DBAPIError

from allocation_worker.service_layer.ports import (
    StoreContentionError,
    StoreError,
    StoreForbiddenError,
    StoreLockTimeoutError,
    StoreUnavailableError,
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
# read_only_sql_transaction: the server is a standby, or was demoted.
READ_ONLY: Final = "25006"
# insufficient_privilege: a grant is missing, or a row-level policy hides rows.
_FORBIDDEN: Final = "42501"
# lock_not_available: lock_timeout ran out.
_LOCK_TIMEOUT: Final = "55P03"
_CONTENTION = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "23505",  # unique_violation: another transaction has just brought the same product or batch
}
_UNAVAILABLE = {
    READ_ONLY,
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
_NO_CONNECTION = (
    "connection to server ",
    "could not translate host name ",
    "invalid port number",
    "definition of service ",
    "could not match ",
)

# What cannot pass by itself: what the server or libpq says, what it means, and where to look.
_REFUSALS = (
    ("unsupported startup parameter", "The connection pooler refuses a startup parameter", "the options"),
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


def translated(error: BaseException, *, disconnected: bool = False) -> StoreError:
    """The same failure in our words."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code: str = getattr(cause, "pgcode", None) or ""
    sentence = " ".join(str(cause).split())
    if code in _CONTENTION:
        return StoreContentionError(sentence)
    if code == _LOCK_TIMEOUT:
        return StoreLockTimeoutError(sentence)
    connecting = not code and type(cause).__name__ in {"OperationalError", "InterfaceError"}
    if connecting and sentence.startswith(_NO_CONNECTION):
        return StoreUnavailableError(_unreachable(str(cause)))
    if disconnected or connecting or code in _UNAVAILABLE or code[:2] in _UNAVAILABLE_CLASSES:
        return StoreUnavailableError(sentence)
    kind = StoreForbiddenError if code == _FORBIDDEN else StoreError
    return kind(f"{' '.join(filter(None, (type(cause).__name__, code)))}: {sentence}")


def _unreachable(told: str) -> str:
    """Return a sentence from what libpq tells of each address that it has tried.

    Its hints, which begin with a tab, are left out. It gives no SQLSTATE for a connection, only the server's text.
    """
    tried = "; ".join(line.strip() for line in told.splitlines() if line.strip() and not line.startswith("\t"))
    for pattern, begin, look_at in _REFUSALS:
        if re.search(pattern, tried):
            return f"{begin} ({tried}); look at {look_at} in ALLOCATION_DATABASE_URL."
    return f"The database cannot be reached ({tried}); look whether it runs there, and at ALLOCATION_DATABASE_URL."
