"""Writes of many rows, several statements a round trip."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.adapters.postgres.arrays import array

Values = tuple[object, ...]

ROWS_AT_A_TIME = 1000


class Write(NamedTuple):
    """A statement with parameters `<name>0`, `<name>1` and so on: arrays, one a column, or the values of one row."""

    name: str
    sql: str


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
            if write.name in self._writes:
                self.flush()
            self._writes[write.name] = write.sql
            for index, column in enumerate(zip(*rows[start : start + ROWS_AT_A_TIME], strict=True)):
                self._parameters[f"{write.name}{index}"] = array(column)

    def add_row(self, write: Write, row: Values) -> None:
        """Write one row, for a statement that takes its values."""
        if write.name in self._writes:
            self.flush()
        self._writes[write.name] = write.sql
        for index, value in enumerate(row):
            self._parameters[f"{write.name}{index}"] = value

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
