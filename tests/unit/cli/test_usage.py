"""The errors for invalid command lines."""

import pytest

from allocation_worker.cli import main


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr("sys.argv", ["allocation-worker", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (1, "")
    return told.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ship"], "no such command 'ship'"),
        (["relay", "--fast"], "no such option: --fast"),
        (["explain"], "missing argument 'message_id'"),
        (["send", "--file"], "option '--file' requires an argument"),
        (["tail", "--type", "shipped"], "there is no event shipped; take allocated, out-of-stock"),
        (
            ["verify", "--stuck-after", "inf"],
            "invalid value for '--stuck-after': input should be less than or equal to",
        ),
        (["dead-letters", "redrive"], "say which dead letters are meant: their ids, or --reason, or --all"),
    ],
)
def test_each_is_refused_in_one_sentence_that_names_the_help(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(monkeypatch, capsys, *words)
    assert sentence in told
    assert told.endswith("--help`.\n")
    assert told.count("\n") == 1


def test_no_words_at_all_show_the_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["allocation-worker"])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr()
    assert "Usage: " in told.out + told.err
    assert "see `" not in told.err
