"""Writes of many rows: several statements a round trip, and COPY for many new rows."""

from collections.abc import Mapping, Sequence
from functools import cache
from io import StringIO
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import DBAPICursor

from allocation_worker.adapters.postgres.arrays import array, rows_to_copy

Values = tuple[object, ...]

ROWS_AT_A_TIME = 1000
MANY_ROWS = 100
"""From so many new rows on, COPY is worth its further round trips."""

_ROWS = "copied_rows"


class Write(NamedTuple):
    """A statement with parameters `<name>0`, `<name>1` and so on: arrays, one a column, or the values of one row.

    Attributes:
        name: Begins the names of the parameters.
        sql: The statement.
        copy: The COPY that writes the same rows, if there is one.
    """

    name: str
    sql: str
    copy: sa.TextClause | None = None


def new_rows(table: str, columns: Mapping[str, str], *, name: str = "") -> Write:
    """Return the write of new rows. The columns are given with their types."""
    name = f"new_{name or table}"
    names = ", ".join(columns)
    arrays = ", ".join(f"CAST(:{name}{index} AS {type_}[])" for index, type_ in enumerate(columns.values()))
    return Write(
        name,
        f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays})",  # noqa: S608 - of constants
        sa.text(f"COPY {table} ({names}) FROM STDIN"),
    )


def send_rows_of_copy(
    cursor: DBAPICursor, statement: str, _parameters: object, context: DefaultExecutionContext
) -> bool:
    """Execute a COPY; a listener of the engine's event `do_execute`.

    Returns:
        Whether it was one, and is done.
    """
    rows = context.execution_options.get(_ROWS)
    if rows is None:
        return False
    cursor.copy_expert(statement, StringIO(rows), size=len(rows))
    return True


class Writer:
    """Collects writes, and sends them in the order in which they were added.

    A round trip costs as much as a statement over a few rows, and every commit ends with four statements.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._writes: dict[str, str] = {}
        self._parameters: dict[str, object] = {}

    def add(self, write: Write, rows: Sequence[Values]) -> None:
        """Write these rows, a thousand at a time."""
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            part = rows[start : start + ROWS_AT_A_TIME]
            if write.copy is not None and len(part) >= MANY_ROWS:
                self.flush()
                self._connection.execute(write.copy, execution_options={_ROWS: rows_to_copy(part)})
                continue
            if write.name in self._writes:
                self.flush()
            self._writes[write.name] = write.sql
            for index, column in enumerate(zip(*part, strict=True)):
                self._parameters[f"{write.name}{index}"] = array(column)

    def add_row(self, write: Write, row: Values) -> None:
        """Write one row, for a statement that takes its values."""
        if write.name in self._writes:
            self.flush()
        self._writes[write.name] = write.sql
        for index, value in enumerate(row):
            self._parameters[f"{write.name}{index}"] = value

    def ask(self, statement: sa.TextClause, parameters: Mapping[str, object]) -> Sequence[Row[*tuple[Any, ...]]]:
        """Send what was added, and a query in the same round trip; return the rows of the query."""
        together = _together(*self._writes.values(), statement.text) if self._writes else statement
        sent = {**self._parameters, **parameters}
        self._writes, self._parameters = {}, {}
        return self._connection.execute(together, sent).all()

    def flush(self) -> None:
        """Send what was added."""
        if self._writes:
            self._connection.execute(_together(*self._writes.values()), self._parameters)
            self._writes = {}
            self._parameters = {}


@cache
def _together(*statements: str) -> sa.TextClause:
    """One statement of several. They come in few combinations; finding the parameters takes as long as a query."""
    return sa.text(";".join(statements))
