"""The TypeScript types in contracts/typescript are the models."""

from pathlib import Path

import pytest

from allocation_contracts import COMMANDS, EVENTS, Command, Event
from tools.typescript import files, main

DIRECTORY = Path(__file__).parents[2] / "contracts" / "typescript"
MODELS: list[type[Command | Event]] = [*COMMANDS.values(), *EVENTS.values()]


@pytest.mark.parametrize("name", files())
def test_the_file_in_the_tree_is_the_models(name: str) -> None:
    current = (DIRECTORY / name).read_text("utf-8")
    assert current == files()[name], f"contracts/typescript/{name} is not what the models say: run `make schemas`"


@pytest.mark.parametrize("model", MODELS)
def test_each_message_is_a_type_of_its_name_with_each_field(model: type[Command | Event]) -> None:
    _, _, after = files()["index.d.ts"].partition(f"export interface {model.__name__} {{\n")
    lines = [line.strip() for line in after.partition("\n}")[0].splitlines()]
    for name, field in model.model_fields.items():
        optional = "" if field.is_required() else "?"
        assert any(line.startswith(f"{name}{optional}: ") for line in lines)
    assert f'  "{model.TYPE}": {model.__name__};' in files()["index.d.ts"]


def test_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: " in capsys.readouterr().err


def test_it_writes_the_same_files_every_time(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    assert {file.name: file.read_text("utf-8") for file in tmp_path.iterdir()} == files()
