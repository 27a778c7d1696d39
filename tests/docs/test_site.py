"""The site builds without a warning, and a reader finds each page in Chromium, without a request to anywhere else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "contracts"
# Sphinx makes them for its own use; no page links to the index of terms.
UNLINKED = {"search.html", "genindex.html"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command: list[str | Path] = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ROOT / "docs", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    page: list[str | Path] = [
        "node",
        CONTRACTS / "docs" / "build.mjs",
        CONTRACTS / "asyncapi.yaml",
        folder / "asyncapi.html",
    ]
    subprocess.run(page, timeout=100, check=True)
    return folder


@pytest.fixture(scope="module")
def seen(site: Path) -> dict[str, Any]:
    """What a reader sees who follows every link."""
    command: list[str | Path] = ["node", CONTRACTS / "docs" / "visit.mjs", site / "index.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_each_page_is_reached_from_the_first(seen: dict[str, Any], site: Path) -> None:
    pages = {page.as_uri() for page in site.rglob("*.html") if page.name not in UNLINKED}
    assert pages - set(seen["pages"]) == set()


def test_each_page_has_a_title_and_all_that_it_links_to_within_itself(seen: dict[str, Any]) -> None:
    for address, page in seen["pages"].items():
        assert page["title"], address
        # tests/docs/test_page.py follows the links of the AsyncAPI page, which React makes.
        assert address.endswith("/asyncapi.html") or page["missing"] == [], address
        assert page["blank"] == [], address


def test_no_request_leaves_the_machine_and_nothing_fails(seen: dict[str, Any]) -> None:
    assert [request for request in seen["requests"] if not request.startswith(("file:", "data:"))] == []
    assert seen["errors"] == []


def test_the_search_finds_the_page_about_a_reason(seen: dict[str, Any]) -> None:
    assert any("Dead-letter reasons" in title for title in seen["found"])


def test_a_warning_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text('extensions = ["myst_parser"]\n')
    (tmp_path / "index.md").write_text("# A page\n\n[nowhere](nowhere.md)\n")
    command: list[str | Path] = [sys.executable, "-m", "sphinx", "-q", "-W", tmp_path, tmp_path / "build"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
