"""What a verb prints goes through one function, which escapes what comes from outside."""

import ast
from pathlib import Path

import pytest

from allocation_worker import cli
from allocation_worker.cli.output import cell, echo

MODULES = sorted(Path(cli.__file__).parent.glob("*.py"))
# Each prints what it has made printable before.
ALLOWED = {
    "output.py": {"typer.echo"},
    "streams.py": {"print"},
    "tail.py": {"print"},
    "__init__.py": {"sys.stderr.write"},
    "dead_letters.py": {"typer.confirm"},
}


def test_lines_stay_lines_and_the_rest_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    echo("a\x1b[2J\n\u202eb")
    echo("c\x9b", err=True)
    assert capsys.readouterr() == ("a\\u001b[2J\n\\u202eb\n", "c\\u009b\n")


def test_a_cell_is_one_line_and_no_markup() -> None:
    assert str(cell("[red]a\nb\x7f")) == "[red]a\\nb\\u007f"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_nothing_is_printed_past_it(module: Path) -> None:
    calls = (node for node in ast.walk(ast.parse(module.read_text("utf-8"))) if isinstance(node, ast.Call))
    printing = {"print", "typer.echo", "typer.secho", "typer.confirm", "sys.stdout.write", "sys.stderr.write"}
    assert {ast.unparse(call.func) for call in calls} & printing <= ALLOWED.get(module.name, set())
