"""What a probe concludes from the signs of life of a process."""

from typing import Any

import pytest

from allocation_worker.service_layer.health import stalled, unready, verb_of

NOW = 1000.0


def sign(*loops: dict[str, Any], **fields: Any) -> dict[str, Any]:
    idle = {
        "name": "worker", "beat": None, "busy_since": None, "connected_since": None, "needs_connection": False,
        "settled": None, "waiting_for": None,
    }  # fmt: skip
    own = {"verb": "consume", "pid": 7, "written": NOW, "limit": 60, "started": True, "waiting_for": None}
    return own | fields | {"loops": [idle | loop for loop in loops or ({},)]}


def test_an_idle_process_is_alive_and_ready() -> None:
    assert stalled(sign(), NOW) == unready(sign(), NOW) == []


def test_a_process_that_writes_no_more_is_stalled() -> None:
    assert stalled(sign(written=NOW - 61), NOW) == ["consume (7) has given no sign of life for 61 s."]


def test_a_loop_that_moves_no_more_is_stalled() -> None:
    old = sign({"beat": NOW - 61})
    assert stalled(old, NOW) == ["consume (7): the worker has not moved for 61 s."]
    assert stalled(old, NOW, limit=100) == []
    assert stalled(sign({"beat": NOW - 59}), NOW) == []


@pytest.mark.parametrize(
    ("away", "told"),
    [
        ({"needs_connection": True}, "is not connected to the broker"),
        ({"waiting_for": "the database"}, "waits for the database"),
        ({"busy_since": NOW - 61}, "has settled nothing for 61 s"),
    ],
)
def test_a_server_that_is_away_makes_a_process_unready_and_not_stalled(away: dict[str, Any], told: str) -> None:
    waiting = sign({"beat": NOW} | away)
    assert stalled(waiting, NOW) == []
    [sentence] = unready(waiting, NOW)
    assert told in sentence


def test_a_process_that_starts_is_alive_and_not_ready() -> None:
    starting = sign(started=False, waiting_for="the database")
    assert stalled(starting, NOW) == []
    assert unready(starting, NOW) == ["consume (7) is starting, and waits for the database."]


@pytest.mark.parametrize(
    ("command_line", "verb"),
    [
        (["dumb-init", "--", "allocation-worker", "migrate", ""], "migrate"),
        (["python3", "/opt/allocation/bin/allocation-worker", "tail", "--json", ""], "tail"),
        (["python3", "-m", "allocation_worker", "consume", ""], "consume"),
        (["/sbin/init", ""], None),
        (["allocation-worker", ""], None),
        ([], None),
    ],
)
def test_the_verb_of_a_process_stands_after_the_program(command_line: list[str], verb: str | None) -> None:
    assert verb_of(command_line) == verb
