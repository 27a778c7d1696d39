"""The worker's wheel holds the service and the public test kit only, its licence, and the versions of what it needs."""

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PUBLIC_TEST_KIT = {"__init__", "arrivals", "environment", "forkserver", "pytest_plugin", "servers", "stack", "waiting"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    [wheel] = folder.glob("*.whl")
    return wheel


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_service_and_the_public_test_kit_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = [Path(name) for name in archive.namelist()]
    packages = {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info")}
    kit = {file.parts[2].removesuffix(".py") for file in files if file.parts[:2] == ("allocation_worker", "testing")}
    assert packages == {"allocation_worker"}
    assert kit == PUBLIC_TEST_KIT


def test_it_carries_its_licence(wheel: Path) -> None:
    assert metadata(wheel)["License-Expression"] == "MIT"
    with zipfile.ZipFile(wheel) as archive:
        [licence] = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_it_needs_the_contracts_of_its_own_version_and_no_later_minor(wheel: Path) -> None:
    requirements = map(Requirement, metadata(wheel).get_all("Requires-Dist", []))
    [contracts] = [each for each in requirements if each.name == "allocation-contracts"]
    major, minor, _ = version("allocation-contracts").split(".")
    assert version("allocation-contracts") in contracts.specifier
    assert version("allocation-worker") == version("allocation-contracts")
    assert f"{major}.{int(minor) + 1}.0" not in contracts.specifier
    assert str(contracts.specifier).count(">=") == 1
