"""Ctrl-C before any handler is installed."""

import sys

import pytest

from allocation_worker.__main__ import main


class Slow:
    """In place of a module that is still being imported."""

    def __getattr__(self, name: str) -> None:
        raise KeyboardInterrupt


def test_it_ends_without_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "allocation_worker.cli", Slow())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "")
