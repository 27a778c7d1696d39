"""Tells on a terminal how far a verb is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TextIO

from allocation_worker.cli.output import echo

_PATIENCE = 0.5
"""Seconds for which nothing is told."""
_TO_START_OF_EMPTY_LINE = "\r\x1b[K"


class ProgressLine:
    """Keeps one line on stderr, and takes it away before anything else is printed. Silent where stderr is no terminal.

    Args:
        what: What is counted, in the plural.
        stream: Where to.
    """

    def __init__(self, what: str, stream: TextIO) -> None:
        self._what = what
        self._stream = stream
        self._silent_until = monotonic() + _PATIENCE
        self._told = False

    def tell(self, seen: int, total: int) -> None:
        """Say how many there were, and how many there will be."""
        if self._stream.isatty() and monotonic() >= self._silent_until:
            self._stream.write(f"{_TO_START_OF_EMPTY_LINE}{seen:,} of {total:,} {self._what}")
            self._stream.flush()
            self._told = True

    def clear(self) -> None:
        """Take the line away."""
        if self._told:
            self._stream.write(_TO_START_OF_EMPTY_LINE)
            self._stream.flush()
            self._told = False

    def echo(self, text: str) -> None:
        """Print a line of the verb's output."""
        self.clear()
        echo(text)


@contextmanager
def progress(what: str) -> Iterator[ProgressLine]:
    """Yield what tells how far a verb is; nothing of it is left after the block."""
    telling = ProgressLine(what, sys.stderr)
    try:
        yield telling
    finally:
        telling.clear()
