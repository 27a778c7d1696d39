"""Structured logs on stderr: JSON, or coloured text on a terminal."""

import logging
import select
import sys
from functools import partial
from io import FileIO, StringIO
from typing import TextIO, cast

import structlog

from allocation_contracts.printable import printable

PATIENCE = 1.0
"""Seconds for which a line waits for a reader that is slow. Then lines are dropped until it reads again."""

# A pipe that select() calls writable takes so many bytes at once.
_CHUNK = select.PIPE_BUF


class _Lines:
    """Writes to stderr, and drops what cannot be written.

    A full disk, a reader that is gone or a reader that does not read never stops the work. A file is written without
    Python's buffer: what is left there makes Python exit with 120.

    Args:
        stream: A text stream; None as Python has it where the process was started without stderr.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        buffer = getattr(stream, "buffer", None)
        # With PYTHONUNBUFFERED there is no buffer in between.
        file = getattr(buffer, "raw", buffer)
        self._file = file if isinstance(file, FileIO) else None
        self._patience = PATIENCE

    def write(self, text: str) -> None:
        try:
            if self._file is not None:
                self._write_bytes(self._file, text.encode(errors="backslashreplace"))
            elif self._stream is not None:
                self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            return

    def flush(self) -> None:
        """Do nothing: all is written."""

    def _write_bytes(self, file: FileIO, left: bytes) -> None:
        while left:
            if not select.select([], [file], [], self._patience)[1]:
                self._patience = 0.0
                return
            self._patience = PATIENCE
            left = left[file.write(left[:_CHUNK]) or 0 :]


def configure(level: str = "info", *, verb: str | None = None) -> None:
    """Set up structlog for this process; call it once, before anything is logged.

    A traceback on a terminal shows no local variables: they hold customers' data.

    Args:
        level: The lowest level that is logged.
        verb: What this process does; a field of every line.
    """
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=_printable_traceback)
        if on_terminal
        else structlog.processors.JSONRenderer(default=repr)
    )
    structlog.configure(
        processors=[
            partial(_add_verb, verb),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([_make_printable] if on_terminal else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Lines(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    # What pika has to say about a connection, the adapter says in our words.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def _make_printable(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # What is no text is shown by its repr, which is printable.
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _printable_traceback(stream: TextIO, error: structlog.typing.ExcInfo) -> None:
    told = StringIO()
    structlog.dev.plain_traceback(told, error)
    stream.write(printable(told.getvalue(), keep="\n"))


def _add_verb(
    verb: str | None, _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if verb is not None:
        event.setdefault("verb", verb)
    return event
