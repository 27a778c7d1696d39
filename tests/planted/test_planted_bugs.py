"""The scenario of each planted bug finds it."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from allocation_worker.testing.servers import Servers
from harness.service import RunningService
from tests.planted.bugs import BUGS, Bug
from tests.planted.scenarios import ON_A_PAIR, SCENARIOS

ROOT = Path(__file__).parents[2]


def _name(bug: Bug) -> str:
    return bug.file.stem


def _copy_of_the_program(folder: Path) -> Path:
    shutil.copytree(ROOT / "allocation_worker", folder / "allocation_worker", ignore=shutil.ignore_patterns("*.pyc"))
    packages = "contracts/allocation_contracts"
    shutil.copytree(ROOT / packages, folder / packages, ignore=shutil.ignore_patterns("*.pyc"))
    return folder


def _plant(bug: Bug, folder: Path) -> None:
    done = subprocess.run(["git", "apply", str(bug.file)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{bug.file.name} no longer applies; bring it up to date: {done.stderr}"


def _servers(scenario: str, request: pytest.FixtureRequest) -> Servers:
    servers: Servers = request.getfixturevalue("servers")
    return replace(servers, database=request.getfixturevalue("database_pair")) if scenario in ON_A_PAIR else servers


def _run(scenario: str, servers: Servers, folder: Path, program: Path | None = None) -> list[str]:
    # The folder that a program is started in would come first, and that is where the tests are.
    settings = {"PYTHONPATH": f"{program}:{program / 'contracts'}", "PYTHONSAFEPATH": "1"} if program else {}
    with RunningService(servers, folder, settings) as service:
        return list(SCENARIOS[scenario](service))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for trying whether patches apply."""
    return _copy_of_the_program(tmp_path_factory.mktemp("program"))


def test_there_are_enough_of_them_and_each_has_a_scenario() -> None:
    assert len(BUGS) >= 20
    assert {bug.scenario for bug in BUGS} == set(SCENARIOS)


@pytest.mark.parametrize("bug", BUGS, ids=_name)
def test_each_patch_applies(bug: Bug, program: Path) -> None:
    done = subprocess.run(
        ["git", "apply", "--check", str(bug.file)], cwd=program, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{bug.file.name} no longer applies; bring it up to date: {done.stderr}"


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_without_a_bug_nothing_is_found(scenario: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    assert _run(scenario, _servers(scenario, request), tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS, ids=_name)
def test_the_bug_is_found(bug: Bug, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    program = _copy_of_the_program(tmp_path / "program")
    _plant(bug, program)
    found = _run(bug.scenario, _servers(bug.scenario, request), tmp_path, program)
    assert any(re.search(bug.caught_by, sentence) for sentence in found), found
