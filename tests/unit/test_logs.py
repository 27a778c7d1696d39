"""The format of logs: one JSON object per line, and text without local variables on a terminal."""

import io
import json
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
        structlog.get_logger().exception("message_failed", message_id="order-17/1")


def test_a_traceback_on_a_terminal_shows_no_local_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    logs.configure("info", verb="consume")
    log_a_failure()
    told = terminal.getvalue()
    assert "ValueError: 25 characters are too many" in told
    assert "in fail_with" in told
    assert "12 High Street" not in told.replace('fail_with("Mrs Jones, 12 High Street")', "")
    assert told.count("\n") < 20


def test_each_line_is_json_with_the_verb_the_event_and_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", pipe := io.StringIO())
    logs.configure("info", verb="relay")
    structlog.get_logger().info("ready", role="active")
    log_a_failure()
    ready, failed = map(json.loads, pipe.getvalue().splitlines())
    assert {"verb": "relay", "event": "ready", "role": "active", "level": "info"}.items() <= ready.items()
    assert (failed["message_id"], failed["level"]) == ("order-17/1", "error")
    assert "ValueError: 25 characters are too many" in failed["exception"]
