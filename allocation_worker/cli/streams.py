"""Standard output: what its encoding lacks, and what to do if it cannot be written."""

import codecs
import os
import sys
from io import TextIOWrapper

from allocation_contracts import AllocationError
from allocation_worker.cli.output import lines

_ESCAPED = "allocation-escaped"


class OutputError(AllocationError):
    """Standard output cannot be written. The text says what was done before."""


def escape_what_cannot_be_encoded() -> None:
    r"""Have stdout and stderr show a character that their encoding lacks as \uXXXX, which is valid in JSON too."""
    codecs.register_error(_ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_ESCAPED)


def tell(line: str, *, done: str) -> None:
    """Print a line of a verb's result, as `echo` does.

    Args:
        line: The line.
        done: A sentence: what the verb has done, which the reader must know even if the line cannot be written.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        print(lines(line), flush=True)  # noqa: T201 - typer.echo would hide a broken pipe
    except OSError as error:
        discard_stdout()
        raise OutputError(f"{done} Standard output cannot be written ({error.strerror}).") from error


def discard_stdout() -> None:
    """Send what is still buffered nowhere: the interpreter flushes stdout at exit, and would fail there again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end
