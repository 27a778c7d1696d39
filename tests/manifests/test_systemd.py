"""The units of docker/systemd, judged by systemd itself."""

import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from allocation_worker.config import Settings

pytestmark = pytest.mark.manifests

UNITS = sorted((Path(__file__).parents[2] / "docker" / "systemd").glob("*.service"))
MOST_EXPOSED = "15"
"""In tenths, of 100. systemd calls up to 19 "OK"; a unit without any of these settings has 96."""


def systemd_analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False)


def test_both_units_are_there() -> None:
    assert [unit.name for unit in UNITS] == ["allocation-worker-set-up.service", "allocation-worker@.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    """With a program that is here in place of the one that will be."""
    text = unit.read_text().replace("/opt/allocation/bin/allocation-worker", shutil.which("true") or "/bin/true")
    copy = tmp_path / unit.name.replace("@.", "@consume.")
    copy.write_text(text)
    done = systemd_analyze("verify", "--man=no", str(copy))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_hardly_exposed(unit: Path) -> None:
    done = systemd_analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit))
    assert done.returncode == 0, done.stdout


def test_a_stop_may_take_longer_than_what_it_waits_for() -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNITS[1])
    assert unit.getint("Service", "TimeoutStopSec") > Settings.model_fields["shutdown_timeout"].default + 15
    assert unit["Service"]["Type"] == "notify"
