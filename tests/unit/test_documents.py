"""The names in the documents exist: files, headings, verbs with their options, settings, reasons."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from allocation_worker.cli import app
from allocation_worker.config import PREFIX, TEST_KIT, Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("contracts/*.md"),
        *ROOT.glob("examples/*/*.md"),
        *(page for page in ROOT.glob("docs/**/*.md") if "build" not in page.parts),
    ]
)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Git hosts and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text("utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def command_lines(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks that call the worker."""
    for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL):
        for line in str(block).splitlines():
            yield from re.findall(r"(?<![/\w-])(allocation-worker [^&|;<>#()]*?)(?= \d?>|[&|;#()]|$)", line)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_command_line_is_understood(page: Path) -> None:
    for line in command_lines(page):
        understand(typer.main.get_command(app), shlex.split(line))


def understand(command: Any, words: list[str]) -> None:
    """Parse a command line without running it; a verb or an option that does not exist raises."""
    name, *rest = words
    context = command.make_context(name, rest)
    # A group keeps the words that follow its own options.
    following = [*context._protected_args, *context.args]
    if following and hasattr(command, "commands"):
        assert following[0] in command.commands, words
        understand(command.commands[following[0]], following)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_setting_it_names_exists(page: Path) -> None:
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    known = settings | {f"{name}_FILE" for name in settings} | TEST_KIT
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b(?!\.\.\.)", page.read_text("utf-8")))
    assert named <= known


@pytest.mark.parametrize("page", [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_each_path_it_names_exists(page: Path) -> None:
    places = [ROOT, ROOT / "allocation_worker", ROOT / "allocation_worker" / "service_layer"]
    for path in re.findall(r"`([\w.]+/[\w./]*|[\w]+\.py)(?:::\w+)?`", page.read_text("utf-8")):
        if "/build/" in path:
            continue
        assert any((place / path).exists() for place in places), path


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


def test_the_decisions_are_numbered_one_after_the_other() -> None:
    records = sorted(ROOT.glob("docs/decisions/0*.md"))
    assert [record.name[:4] for record in records] == [f"{number:04d}" for number in range(1, len(records) + 1)]
    for record in records:
        lines = record.read_text("utf-8").splitlines()
        assert lines[0].startswith(f"# {record.name[:4]}. ")
        assert lines[2].startswith("- Status: ")
        assert lines[3].startswith("- Date: ")
        assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]


def test_each_log_event_it_names_is_logged() -> None:
    page = (ROOT / "docs" / "howto" / "operate.md").read_text("utf-8")
    packages = ("allocation_worker", "contracts/allocation_contracts")
    code = "".join(file.read_text("utf-8") for package in packages for file in ROOT.glob(f"{package}/**/*.py"))
    named = re.findall(r"^\| `([a-z_]+)` \|", page.split("## Read the logs")[1].split("\n## ")[0], flags=re.MULTILINE)
    assert len(named) > 5
    assert [event for event in named if f'"{event}"' not in code] == []
