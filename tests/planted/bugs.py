"""The planted bugs: patches whose first lines give the bug, its scenario, and the expected fault."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bug:
    """What the first lines of a patch say."""

    file: Path
    what: str
    scenario: str
    caught_by: str


def _read(file: Path) -> Bug:
    what, scenario, caught_by, *_ = file.read_text().splitlines()
    return Bug(file, what, scenario.removeprefix("Scenario: "), caught_by.removeprefix("Caught by: "))


BUGS = [_read(file) for file in sorted((Path(__file__).parent / "patches").glob("*.patch"))]
