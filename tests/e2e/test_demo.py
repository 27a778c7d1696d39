"""The demo, without a terminal."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

DEMO = [sys.executable, "-m", "demo", "--orders", "60"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo and its servers put their files: also where PostgreSQL, as another user, gets."""
    folder = Path(mkdtemp(prefix="test-demo-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def left_overs(folder: Path) -> list[str]:
    """Files, and the command lines of processes that have the folder in their environment or work in it."""
    found = [str(path) for path in folder.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = str(folder).encode() in (process / "environ").read_bytes()
            if inside or (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it has just ended, or is another user's
    return found


def test_plays_the_day_checks_it_and_leaves_nothing_behind(folder: Path) -> None:
    done = subprocess.run(
        DEMO, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for sentence in (
        r"9 batches of 4 SKUs, \d+ pieces, in the warehouse and on 2 ships\.",
        r"\d+ order lines in .* of them have stock\.",
        r"kill -9 of consume: \d+ orders waited for its successor, and nothing is lost\.",
        r"argo-chairs fell from \d+ to \d+: \d+ lines? w\w+ taken off, the last .*\d+ moved to beagle-chairs",
        r"order-0001 gives 4 RED-CHAIR back to .* refused, line-cancelled\.",
        r"A hotel wants \d+ TASTELESS-LAMP, and can wait: one batch has \d+ at most",
        r"order-0061 wants .* As soon as calypso-lamps is announced, it is served; nobody asked again\.",
        r"\w+-chairs comes on \d+ \w+, not on \d+ \w+: \d+ lines? w\w+ told\. Then it .* is shipped\.",
        r"order-0062 came four times under one message_id, and took effect once\.",
        r"✓ Every command was answered, and once: (\d+) of \1\.",
        r"✓ Nothing was oversold: 10 batches, \d+ of \d+ pieces allocated\.",
        r"✓ No line waits for what is there, and none .* old date: 1 line waited, [1-9]\d* new dates were told\.",
        r"✓ The sequences have no gap: \d+ events of 4 SKUs, each SKU's in order\.",
        r"✓ consume and relay ended when asked, and so did the servers\.",
    ):
        assert re.search(sentence, done.stdout), f"{sentence} is not in {done.stdout}"
    assert left_overs(folder) == []


@pytest.mark.long
def test_ends_tidily_when_interrupted(folder: Path) -> None:
    demo = subprocess.Popen(
        DEMO, env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "Orders come in" in line:
                demo.send_signal(signal.SIGTERM)
        _, complaint = demo.communicate(timeout=60)
    assert (demo.returncode, complaint) == (130, "Interrupted; all that was started has been ended.\n")
    assert left_overs(folder) == []


def test_says_what_to_do_where_no_servers_can_be_had(folder: Path) -> None:
    unset = {"ALLOCATION_AMQP_URL": "", "ALLOCATION_DATABASE_URL": "", "ALLOCATION_TEST_SERVERS": "given"}
    done = subprocess.run(
        DEMO, env={**os.environ, **unset, "TMPDIR": str(folder)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(r"Please install rabbitmq-server and postgresql, or .*\.\n", done.stderr)
    assert left_overs(folder) == []
