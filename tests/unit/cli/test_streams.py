"""Characters that the encoding of a terminal lacks, and streams that cannot be written."""

import errno
import io
import json
import os
import sys

import pytest

from allocation_worker.cli.streams import OutputError, prepare, tell

TEXT = "ST\xdcHLE \u6905 \U0001f4ba \udcff"


def prepared(monkeypatch: pytest.MonkeyPatch, **streams: io.TextIOWrapper) -> None:
    """Prepare these streams, and leave those of pytest as they are."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, streams.get(name) or io.TextIOWrapper(io.BytesIO()))
    prepare()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "ST\\u00dcHLE \\u6905 \\ud83d\\udcba \\udcff"),
        ("cp1252", "ST\xdcHLE \\u6905 \\ud83d\\udcba \\udcff"),
        ("utf-8", "ST\xdcHLE \u6905 \U0001f4ba \\udcff"),
    ],
)
def test_they_are_escaped_as_json_does(encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding=encoding, newline="") as stream:
        prepared(monkeypatch, stdout=stream)
        tell(json.dumps({"sku": TEXT}, ensure_ascii=False), done="")
        line = written.getvalue().decode(encoding)
    assert line == f'{{"sku": "{shown}"}}\n'
    assert json.loads(line) == {"sku": TEXT}


class Full(io.BytesIO):
    """A disk that is full."""

    def write(self, _data: object, /) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fileno(self) -> int:
        return os.memfd_create("full")


def test_a_full_stdout_is_an_error_that_says_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(monkeypatch, stdout=io.TextIOWrapper(Full(), encoding="utf-8", line_buffering=True))
    with pytest.raises(OutputError, match=r"^Standard output cannot be written \(No space left on device\)\.$"):
        print("line")  # noqa: T201 - whatever prints
    with pytest.raises(OutputError, match=r"^Two are sent\. Standard output cannot be written \(No space left"):
        tell("line", done="Two are sent.")


def test_a_full_stderr_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(monkeypatch, stderr=io.TextIOWrapper(Full(), encoding="utf-8", line_buffering=True))
    print("line", file=sys.stderr)  # noqa: T201 - whatever prints
    sys.stderr.flush()
