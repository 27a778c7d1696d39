"""Translate errors of psycopg2 and SQLAlchemy into the errors of the store's ports."""

import re
from typing import Final

from sqlalchemy.exc import DBAPIError

from allocation_worker.service_layer.ports import (
    StoreContentionError,
    StoreError,
    StoreLockTimeoutError,
    StoreUnavailableError,
    StoreUnfitError,
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
# read_only_sql_transaction: the server is a standby, or was demoted.
READ_ONLY: Final = "25006"
_UNIQUE_VIOLATION: Final = "23505"
# insufficient_privilege: a grant is missing, or a row-level policy hides rows.
_FORBIDDEN: Final = "42501"
# What passes by itself, because another transaction interfered.
_PASSING: Final = {
    "40001": StoreContentionError,  # serialization_failure
    "40P01": StoreContentionError,  # deadlock_detected
    _UNIQUE_VIOLATION: StoreContentionError,  # another transaction has just brought the same product or batch
    "55P03": StoreLockTimeoutError,  # lock_not_available: lock_timeout ran out
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

# Only these are a message's fault. A message can hold such a value, or break such a rule of the tables.
_CAUSED_BY_A_MESSAGE = {
    "22001",  # string_data_right_truncation
    "22003",  # numeric_value_out_of_range
    "22007",  # invalid_datetime_format
    "22008",  # datetime_field_overflow
    "22021",  # character_not_in_repertoire
    "22P02",  # invalid_text_representation
    "22P05",  # untranslatable_character
    "23502",  # not_null_violation
    "23503",  # foreign_key_violation
    "23514",  # check_violation
    "P0001",  # raise_exception: a trigger of the operator's refuses the row
}
# The table whose ids come from a sequence, so no other transaction can have brought the same one.
_NUMBERED: Final = "outbox_pages"

_SEQUENCE_BEHIND: Final = (
    "The sequence of outbox_pages.id is behind its table, as after a logical copy ({told}); stop the worker, run "
    "`allocation-worker verify`, then set the sequence by setval."
)
# What mends a refusal, by the beginning of its SQLSTATE. The first that fits counts.
_MENDS = (
    (
        ("42P01", "42703", "42883", "3F000"),
        "put it back, run `allocation-worker migrate`, or look at the search_path of this user",
    ),
    (("54",), "look at the log of the server; what it says there mends it"),
    (("",), "no message causes this, so mend the database"),
)
# What the server says of a missing grant, and the privileges that the service needs.
_DENIED = re.compile(r"permission denied for (?P<kind>table|view|sequence|schema|function) (?P<name>[^\s;]+)")
_PRIVILEGES = {
    "table": "SELECT, INSERT, UPDATE, DELETE ON TABLE",
    "view": "SELECT ON TABLE",
    "sequence": "SELECT, USAGE ON SEQUENCE",
    "schema": "USAGE ON SCHEMA",
    "function": "EXECUTE ON FUNCTION",
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
    ("unsupported (options )?startup parameter", "The connection pooler refuses a startup parameter", "the options"),
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
    connecting = not code and type(cause).__name__ in {"OperationalError", "InterfaceError"}
    if connecting and sentence.startswith(_NO_CONNECTION):
        return StoreUnavailableError(_unreachable(str(cause)))
    if disconnected or connecting or code in _UNAVAILABLE or code[:2] in _UNAVAILABLE_CLASSES:
        return StoreUnavailableError(sentence)
    if code in _PASSING and not (code == _UNIQUE_VIOLATION and _table(cause) == _NUMBERED):
        return _PASSING[code](sentence)
    return _refused(cause, code, sentence)


def _refused(cause: BaseException, code: str, sentence: str) -> StoreError:
    """Return what is said of a refusal that does not pass by itself."""
    if code == _UNIQUE_VIOLATION:
        return StoreUnfitError(_SEQUENCE_BEHIND.format(told=sentence))
    told = f"{' '.join(filter(None, (type(cause).__name__, code)))}: {sentence}"
    # Without a code it is the driver's: a value that it cannot send.
    if not code or code in _CAUSED_BY_A_MESSAGE:
        return StoreError(told)
    return StoreUnfitError(f"The database refuses a statement ({told}); {_mend(cause, code, sentence)}.")


def _table(cause: BaseException) -> str | None:
    return getattr(getattr(cause, "diag", None), "table_name", None)


def _mend(cause: BaseException, code: str, sentence: str) -> str:
    """Return what mends a statement that is refused, whatever message it was for."""
    if code == _FORBIDDEN and (denied := _DENIED.search(sentence)):
        return f"run GRANT {_PRIVILEGES[denied['kind']]} {denied['name']} TO {_user(cause)}"
    return next(advice for begins, advice in _MENDS if code.startswith(begins))


def _user(cause: BaseException) -> str:
    """Return the user of the connection; a placeholder where it is not known."""
    connection = getattr(getattr(cause, "cursor", None), "connection", None)
    return connection.info.user if connection is not None and not connection.closed else "the user of the worker"


def _unreachable(told: str) -> str:
    """Return a sentence from what libpq tells of each address that it has tried.

    Its hints, which begin with a tab, are left out. It gives no SQLSTATE for a connection, only the server's text.
    """
    tried = "; ".join(line.strip() for line in told.splitlines() if line.strip() and not line.startswith("\t"))
    for pattern, begin, look_at in _REFUSALS:
        if re.search(pattern, tried):
            return f"{begin} ({tried}); look at {look_at} in ALLOCATION_DATABASE_URL."
    return f"The database cannot be reached ({tried}); look whether it runs there, and at ALLOCATION_DATABASE_URL."
