"""Encode lists as PostgreSQL arrays, and rows for COPY, faster than psycopg2 does."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

_NUL = "A text with NUL in it cannot be stored."
_SPECIAL = re.compile(r"[\0\\\t\n\r]")
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def array(values: Sequence[Any]) -> str:
    """Return an array literal of PostgreSQL, to be cast in the statement. All values have one type or are None.

    psycopg2 adapts a list element by element. This function takes half the time for 250 rows.

    Raises:
        ValueError: A text holds NUL, which PostgreSQL cannot store.
    """
    if None not in values:
        kind = type(values[0]) if values else int
        if kind is int or kind is bool:
            return "{" + ",".join(map(str, values)) + "}"
        if kind is str:
            return _texts(values)
    return "{" + ",".join(map(_element, values)) + "}"


def rows_to_copy(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows in the text format of COPY. All values of a column have one type or are None.

    Raises:
        ValueError: A text holds NUL, which PostgreSQL cannot store.
    """
    columns = map(_column, zip(*rows, strict=True))
    return "".join([f"{line}\n" for line in map("\t".join, zip(*columns, strict=True))])


def _column(values: Sequence[Any]) -> Iterable[str]:
    kind = type(values[0])
    if None not in values:
        if kind is int or kind is bool:
            return map(str, values)
        # Looked at in one pass, since hardly any text has such a character.
        if kind is str and not _SPECIAL.search("".join(values)):
            return values
    return map(_field, values)


def _field(value: object) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bytes):
        return f"\\\\x{value.hex()}"
    text = str(value)
    if "\0" in text:
        raise ValueError(_NUL)
    return text.translate(_ESCAPED)


def _texts(values: Sequence[str]) -> str:
    """Encode all texts in one pass: a call for each text would take longer than the statement."""
    joined = "\0".join(values)
    if joined.count("\0") != len(values) - 1:
        raise ValueError(_NUL)
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
