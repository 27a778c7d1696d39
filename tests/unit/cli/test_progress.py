"""How far a verb is, on a terminal, with nothing left of it."""

from io import StringIO

import pytest

from allocation_worker.cli import progress as module
from allocation_worker.cli.progress import ProgressLine, progress


class Terminal(StringIO):
    """A stream that says that it is a terminal, and shows its only line as one would."""

    def isatty(self) -> bool:
        return True

    @property
    def line(self) -> str:
        return self.getvalue().rpartition("\x1b[K")[2]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0)


@pytest.mark.usefixtures("impatient")
def test_a_line_of_output_takes_the_place_of_the_progress(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    telling = ProgressLine("dead letters", terminal)
    telling.tell(100, 2_000)
    assert terminal.line == "100 of 2,000 dead letters"
    telling.echo("found")
    assert terminal.line == ""
    assert capsys.readouterr().out == "found\n"
    telling.tell(200, 2_000)
    assert terminal.line == "200 of 2,000 dead letters"
    telling.clear()
    assert terminal.line == ""


@pytest.mark.usefixtures("impatient")
def test_nothing_is_left_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    def interrupted() -> None:
        with progress("dead letters") as telling:
            telling.tell(1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert terminal.line == ""


def test_what_takes_no_time_tells_nothing() -> None:
    terminal = Terminal()
    telling = ProgressLine("dead letters", terminal)
    telling.tell(1, 1)
    telling.clear()
    assert terminal.getvalue() == ""


@pytest.mark.usefixtures("impatient")
def test_a_file_or_a_pipe_gets_nothing() -> None:
    stream = StringIO()
    telling = ProgressLine("dead letters", stream)
    telling.tell(1, 1)
    telling.clear()
    assert stream.getvalue() == ""
