"""Standard output and stderr: what their encoding lacks, and what to do if they cannot be written."""

import codecs
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TextIO

from allocation_contracts import AllocationError
from allocation_worker.cli.output import lines

_ESCAPED = "allocation-escaped"


class OutputError(AllocationError):
    """Standard output cannot be written. The text says what was done before."""

    def __init__(self, reason: str | None, done: str = "") -> None:
        super().__init__(f"{done} Standard output cannot be written ({reason}).".lstrip())
        self.reason = reason


class _Stream(TextIOWrapper):
    def __init__(self, stream: TextIOWrapper) -> None:
        super().__init__(stream.buffer, stream.encoding, _ESCAPED, "\n", stream.line_buffering, stream.write_through)
        self._stream = stream  # which would close the buffer when nothing names it any more


class _Output(_Stream):
    """Standard output. If it cannot be written, that is an `OutputError`; a reader that has gone stays an OSError."""

    def write(self, text: str, /) -> int:
        if text == "":
            return 0  # typer tries what a stream takes by writing nothing, and hides the error of a full one
        with self._or_error():
            return super().write(text)

    def flush(self) -> None:
        with self._or_error():
            super().flush()

    @contextmanager
    def _or_error(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            discard(self)
            raise OutputError(error.strerror) from error


class _Stderr(_Stream):
    """Standard error. What it cannot take now is lost: nobody could be told."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare() -> None:
    r"""Have stdout and stderr escape what their encoding lacks, as \uXXXX, and say if stdout cannot be written."""
    codecs.register_error(_ESCAPED, _escaped)
    sys.stdout = _prepared(sys.stdout, _Output)
    sys.stderr = _prepared(sys.stderr, _Stderr)


def _prepared(stream: TextIO, kind: type[_Stream]) -> TextIO:
    return kind(stream) if isinstance(stream, TextIOWrapper) else stream


@contextmanager
def reporting(done: Callable[[], str]) -> Iterator[None]:
    """Print a verb's report in this block: if that fails, the error says what was done.

    Args:
        done: Returns a sentence: what the verb has done, which the reader must know even without the report.

    Raises:
        OutputError: Standard output cannot be written.
    """
    try:
        yield
    except OutputError as error:
        raise OutputError(error.reason, done()) from error
    except BrokenPipeError as error:
        discard(sys.stdout)
        raise OutputError(error.strerror, done()) from error


def tell(line: str, *, done: str) -> None:
    """Print a line of a verb's result, as `echo` does, and in a block of `reporting`."""
    with reporting(lambda: done):
        print(lines(line), flush=True)  # noqa: T201 - typer.echo would hide a broken pipe


def discard(stream: TextIO) -> None:
    """Send what is still buffered nowhere: the interpreter flushes a stream at exit, and would fail there again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end
