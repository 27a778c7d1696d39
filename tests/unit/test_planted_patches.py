"""The patch of each planted bug applies; `make planted` checks that it is found."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("patch", sorted((ROOT / "tests/planted/patches").glob("*.patch")), ids=lambda path: path.stem)
def test_a_planted_bug_still_applies(patch: Path) -> None:
    tried = subprocess.run(
        ["git", "apply", "--check", str(patch)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert tried.returncode == 0, f"Bring {patch.name} up to date: {tried.stderr}"
