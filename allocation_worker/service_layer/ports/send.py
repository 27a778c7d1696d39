"""What `send` needs: a file of commands, and what publishes them."""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import allocation_contracts as contracts

_SHOWN_ROWS = 10
_ID_DIGITS = 24


class CommandFileError(contracts.AllocationError):
    """A file cannot be sent as it is. The text is one sentence, or one for each bad row."""


class BadRow(NamedTuple):
    """A row that is no command."""

    number: int
    sentence: str


class GoodRow(NamedTuple):
    """A row that is a command."""

    number: int
    command: contracts.Command


class Survey:
    """What a file holds, one row after the other.

    Attributes:
        good: how many rows are commands.
        bad: how many are not.
        unused: the columns that no command has taken anything from.
    """

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0
        self.unused: set[str] = set()
        self._sentences: list[str] = []
        self._hash = sha256()

    def add(self, row: GoodRow | BadRow) -> None:
        """Take the next row in."""
        if isinstance(row, GoodRow):
            self.good += 1
            self._hash.update(f"{row.number} {row.command.TYPE} ".encode() + contracts.encode(row.command) + b"\n")
            return
        self.bad += 1
        if len(self._sentences) < _SHOWN_ROWS:
            self._sentences.append(row.sentence)

    @property
    def digest(self) -> str:
        """Of all commands so far and the numbers of their rows, in hexadecimal."""
        return self._hash.hexdigest()[:_ID_DIGITS]

    @property
    def error_report(self) -> str:
        """What is wrong with the bad rows: a sentence for each of the first ten, and how many more there are."""
        more = self.bad - len(self._sentences)
        return "\n".join([*self._sentences, *([f"... and {more} more bad rows."] if more else [])])


class CommandRows(Protocol):
    """A file of commands, which can be read as often as needed."""

    @property
    def path(self) -> Path: ...

    def survey(self) -> Survey:
        """Read the whole file, and say what it holds.

        Raises:
            CommandFileError: It cannot be read.
        """

    def rows(self) -> Iterator[GoodRow | BadRow]:
        """Return all rows, in their order."""


PublishCommands = Callable[[Iterable[tuple[str, contracts.Command]]], None]
"""Publishes commands in their order, each with its message_id. Returns once all are confirmed, or raises an error."""
