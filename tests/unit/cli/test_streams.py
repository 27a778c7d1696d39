"""Characters that the encoding of a terminal lacks."""

import io
import json
import sys

import pytest

from allocation_worker.cli.streams import escape_what_cannot_be_encoded, tell

TEXT = "ST\xdcHLE \u6905 \U0001f4ba \udcff"


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
        monkeypatch.setattr(sys, "stdout", stream)
        escape_what_cannot_be_encoded()
        tell(json.dumps({"sku": TEXT}, ensure_ascii=False), done="")
        line = written.getvalue().decode(encoding)
    assert line == f'{{"sku": "{shown}"}}\n'
    assert json.loads(line) == {"sku": TEXT}
