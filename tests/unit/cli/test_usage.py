"""The errors for invalid command lines."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from allocation_contracts import AllocationError, ContractError
from allocation_worker.adapters.postgres.schema import SchemaOutdatedError
from allocation_worker.adapters.rabbitmq.errors import BrokerError, TopologyMismatchError
from allocation_worker.cli import app, exit_codes, main
from allocation_worker.config import SettingsError
from allocation_worker.service_layer.ports import CommandFileError, StoreUnavailableError
from allocation_worker.service_layer.replay import ReplayError


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr("sys.argv", ["allocation-worker", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    return told.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ship"], "no such command 'ship'"),
        (["relay", "--fast"], "no such option: --fast"),
        (["explain"], "give a message_id, or --order, or --sku; see"),
        (["send", "--file"], "option '--file' requires an argument"),
        (["tail", "--type", "posted"], "there is no event posted; take allocated, out-of-stock"),
        (
            ["verify", "--stuck-after", "inf"],
            "invalid value for '--stuck-after': input should be less than or equal to",
        ),
        (
            ["send", "hold", "--orderid=o", "--sku=S", "--qty=1", "--minutes=1", "--until=2030-01-01T00:00:00Z"],
            "give either --minutes or --until; see",
        ),
        (
            ["replay", "--sku=S", "--from=9", "--to=3", "--queue=q"],
            "--from must not be above --to; see",
        ),
        (["dead-letters", "redrive"], "say which dead letters are meant: their ids, or --all, or some of --reason"),
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


def test_h_is_help_for_each_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["verify"], ["send", "allocate"], ["dead-letters", "list"]):
        monkeypatch.setattr("sys.argv", ["allocation-worker", *words, "-h"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in {None, 0}
        assert "Usage: " in capsys.readouterr().out


def test_the_help_lists_the_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["allocation-worker", "--help"])
    with pytest.raises(SystemExit):
        main()
    shown = " ".join(capsys.readouterr().out.split())
    assert exit_codes.IN_HELP in shown


def test_the_page_and_the_help_list_the_same_exit_codes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "exit-codes.md").read_text("utf-8")
    assert re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE) == re.findall(r"(\d+) ", exit_codes.IN_HELP)


def test_each_verb_that_prints_can_print_json() -> None:
    without = {name for name, command in verbs(typer.main.get_command(app)) if "--json" not in options(command)}
    assert without == {"consume", "relay"}


def verbs(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for each, child in command.commands.items():
        yield from verbs(child, f"{name} {each}".strip())


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 78),
        (BrokerError("x"), 69),
        (StoreUnavailableError("x"), 69),
        (SchemaOutdatedError("x"), 69),
        (TopologyMismatchError("x"), 1),
        (ReplayError("x"), 3),
        (ContractError("x", "y"), 2),
        (CommandFileError("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: AllocationError, code: int) -> None:
    assert exit_codes.code_of(error) == code


def test_an_error_with_an_unavailable_server_behind_it_has_its_code() -> None:
    error = CommandFileError("half of it is sent")
    error.__cause__ = BrokerError("away")
    assert exit_codes.code_of(error) == 69
