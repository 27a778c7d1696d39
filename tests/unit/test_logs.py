"""The format of logs: one JSON object per line, and text without local variables on a terminal."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from allocation_worker import logs


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def configured_again() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def fail_with(secret: str) -> None:
    raise ValueError(f"{len(secret)} characters are too many")


def log_a_failure() -> None:
    try:
        fail_with("Mrs Jones, 12 High Street")
    except ValueError:
        structlog.get_logger().exception("retry_scheduled", message_id="order-17/1")


def test_a_traceback_on_a_terminal_shows_no_local_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    logs.configure("info", verb="consume")
    log_a_failure()
    told = terminal.getvalue()
    assert "ValueError: 25 characters are too many" in told
    assert "in fail_with" in told
    assert "12 High Street" not in told.replace('fail_with("Mrs Jones, 12 High Street")', "")
    assert told.count("\n") < 20


def test_text_from_outside_cannot_move_the_cursor_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    harmful = "a\x1b[2Jb\x9b1Ac\u202ed\u2066e\nf"
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    logs.configure("info", verb="consume")
    log = structlog.get_logger()
    log.info("ready", message_id=harmful, names=[harmful], detail={harmful: harmful})

    def fail() -> None:
        raise ValueError(harmful)

    try:
        fail()
    except ValueError:
        log.exception("retry_scheduled", message_id="order-17/1")
    told = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())  # our colours
    assert told.count(r"a\u001b[2Jb\u009b1Ac\u202ed\u2066e") == 2
    assert all(line.isprintable() for line in told.splitlines())
    assert "\n" not in told.split("ready")[1].split("retry_scheduled")[0].strip().partition("names")[0]


def test_each_line_is_json_with_the_verb_the_event_and_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", pipe := io.StringIO())
    logs.configure("info", verb="relay")
    structlog.get_logger().info("ready", role="active")
    log_a_failure()
    ready, failed = map(json.loads, pipe.getvalue().splitlines())
    assert {"verb": "relay", "event": "ready", "role": "active", "level": "info"}.items() <= ready.items()
    assert (failed["message_id"], failed["level"]) == ("order-17/1", "error")
    assert "ValueError: 25 characters are too many" in failed["exception"]


GO_ON = """
import sys
import structlog
from allocation_worker import logs
logs.configure("info", verb="relay")
for number in range(200):
    structlog.get_logger().info("ready", number=number, detail="x" * 5000)
print("went on")
"""


@pytest.mark.parametrize("without", ["room", "stderr", "a reader", "a reader that reads"])
def test_a_log_that_cannot_be_written_does_not_stop_the_work(without: str) -> None:
    """A process of its own, whose stderr is what the test says."""
    reader, pipe = os.pipe()
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        places = {"room": full.fileno(), "stderr": None, "a reader": pipe, "a reader that reads": pipe}
        if without == "a reader":
            os.close(reader)
        program = [sys.executable, "-c", GO_ON]
        if without == "stderr":
            program = ["sh", "-c", 'exec "$@" 2>&-', "sh", *program]
        ended = subprocess.run(program, stdout=subprocess.PIPE, stderr=places[without], check=False, timeout=60)
    os.close(pipe)
    if without != "a reader":
        os.close(reader)
    assert (ended.stdout, ended.returncode) == (b"went on\n", 0)


def test_a_reader_that_reads_gets_every_line() -> None:
    ended = subprocess.run([sys.executable, "-c", GO_ON], capture_output=True, check=True, timeout=60)
    assert [json.loads(line)["number"] for line in ended.stderr.splitlines()] == list(range(200))
