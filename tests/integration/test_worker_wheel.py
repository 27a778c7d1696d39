"""The worker's wheel holds the service and the public test kit only."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PUBLIC_TEST_KIT = {"__init__", "arrivals", "environment", "forkserver", "pytest_plugin", "servers", "stack", "waiting"}


def test_the_wheel_holds_the_service_and_the_public_test_kit_alone(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        files = [Path(name) for name in archive.namelist()]
    packages = {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info")}
    kit = {file.parts[2].removesuffix(".py") for file in files if file.parts[:2] == ("allocation_worker", "testing")}
    assert packages == {"allocation_worker"}
    assert kit == PUBLIC_TEST_KIT
