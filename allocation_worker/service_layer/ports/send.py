"""The ports of `send`: a file of commands, and the publisher."""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple, Protocol

import allocation_contracts as contracts

_SHOWN_ROWS = 10
_ID_DIGITS = 24


class CommandFileError(contracts.AllocationError):
    """A file cannot be sent. The text is one sentence, or one for each bad row."""


class BadRow(NamedTuple):
    """A row that is not a valid command."""

    number: int
    sentence: str


class GoodRow(NamedTuple):
    """A row that is a valid command."""

    number: int
    command: contracts.Command


class Survey:
    """What a file holds, one row after the other.

    Attributes:
        good: The number of valid rows.
        bad: The number of invalid rows.
        unused: The columns that are not used for any field.
    """

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0
        self.unused: set[str] = set()
        self._sentences: list[str] = []
        self._hash = sha256()

    def add(self, row: GoodRow | BadRow) -> None:
        """Add the next row."""
        if isinstance(row, GoodRow):
            self.good += 1
            self._hash.update(f"{row.number} {row.command.TYPE} ".encode() + contracts.encode(row.command) + b"\n")
            return
        self.bad += 1
        if len(self._sentences) < _SHOWN_ROWS:
            self._sentences.append(row.sentence)

    @property
    def digest(self) -> str:
        """The hexadecimal digest of all commands so far, with their row numbers."""
        return self._hash.hexdigest()[:_ID_DIGITS]

    @property
    def error_report(self) -> str:
        """The errors of the first ten bad rows, one sentence per line, and the number of the others."""
        more = self.bad - len(self._sentences)
        return "\n".join([*self._sentences, *([f"... and {more} more bad rows."] if more else [])])


class CommandRows(Protocol):
    """A file of commands, which can be read as often as needed."""

    @property
    def name(self) -> str: ...

    def survey(self) -> Survey:
        """Read the whole file and return its totals.

        Raises:
            CommandFileError: The file cannot be read.
        """

    def rows(self) -> Iterator[GoodRow | BadRow]:
        """Return all rows, in their order."""


PublishCommands = Callable[[Iterable[tuple[str, contracts.Command]]], None]
"""Publishes commands in order, each with its message_id. Returns once all are confirmed, or raises an error."""
