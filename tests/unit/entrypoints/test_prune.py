"""Pruning in its own thread: when, how fast, and through what."""

from collections.abc import MutableMapping
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from allocation_worker.entrypoints.prune import LONGEST_PAUSE, ROUND_EVERY, ROUNDS_PER_KEEP, Pruner
from allocation_worker.entrypoints.prune_clock import PruneClock
from allocation_worker.entrypoints.while_active import WhileActive
from allocation_worker.service_layer.ports import StoreError, StoreUnavailableError
from tests.fakes.prune import TODAY, FakeTable, FakeTimes
from tests.fakes.relay import Clock

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Stage:
    """An active relay's pruner; `run` lets it work for so many seconds."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.times = FakeTimes(self.clock)
        self.active, self.stopping = Event(), Event()
        self.active.set()
        self.inbox = FakeTable()
        self.outbox = FakeTable(keep=30 * DAY, name="outbox")
        self.inbox.on_step = self.outbox.on_step = self.take_time
        self.until = 0.0
        self.pauses: list[float] = []

    def take_time(self) -> None:
        self.clock.now += 0.01

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.now += seconds
        if self.clock.now >= self.until:
            self.stopping.set()

    def run(self, seconds: float) -> None:
        self.stopping.clear()
        self.until = self.clock.now + seconds
        Pruner(
            (self.inbox, self.outbox),
            PruneClock(self.times, clock=self.clock),
            WhileActive(self.active, stopping=self.stopping, sleep=self.sleep, clock=self.clock),
        ).run()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_old_rows_go_at_once_and_young_ones_stay(stage: Stage) -> None:
    stage.inbox.write("old", TODAY - 8 * DAY, count=500)
    stage.inbox.write("young", TODAY - 6 * DAY, count=500)
    stage.outbox.write("young", TODAY - 8 * DAY)
    stage.run(10.0)
    assert stage.inbox.left() == {"young"}
    assert stage.outbox.left() == {"young"}


def test_a_step_that_deletes_is_followed_by_a_pause_as_long(stage: Stage) -> None:
    stage.inbox.write("old", TODAY - 8 * DAY, count=500)
    stage.run(1.5)
    assert stage.inbox.rows == []
    assert 0.009 < stage.pauses[0] < 0.011


def test_a_small_table_is_read_once_a_minute(stage: Stage) -> None:
    stage.inbox.write("young", TODAY)
    stage.run(10 * ROUND_EVERY)
    assert 10 <= len(stage.inbox.steps) <= 11


def test_a_table_without_old_rows_is_read_slowly_after_the_first_round(stage: Stage) -> None:
    stage.inbox.write("young", TODAY, count=2000)
    stage.run(59.0)
    first = len(stage.inbox.steps)
    assert first == 200
    stage.run(1200.0)
    assert len(stage.inbox.steps) - first <= 200 + 1200 / LONGEST_PAUSE


def test_a_round_through_a_large_table_takes_no_longer_than_its_part_of_the_time(stage: Stage) -> None:
    stage.inbox.keep = HOUR
    stage.inbox.write("young", TODAY + DAY, count=2000)
    stage.run(60.0 + 3 * HOUR.total_seconds() / ROUNDS_PER_KEEP + 10.0)
    assert len(stage.inbox.steps) >= 4 * 200


def test_a_clock_that_jumps_for_a_minute_deletes_nothing(stage: Stage) -> None:
    stage.inbox.write("young", TODAY - 5 * DAY, count=100)
    stage.outbox.write("young", TODAY - 5 * DAY, count=100)
    stage.times.ahead = 40 * DAY
    stage.run(60.0)
    stage.times.ahead = timedelta()
    stage.run(600.0)
    assert (len(stage.inbox.rows), len(stage.outbox.rows)) == (100, 100)


def test_only_the_active_relay_prunes(stage: Stage) -> None:
    stage.active.clear()
    stage.inbox.write("old", TODAY - 8 * DAY)
    stage.run(600.0)
    assert stage.inbox.steps == []


def test_it_ends_with_the_session_of_the_relay_and_begins_with_the_next(stage: Stage) -> None:
    stage.inbox.on_step = stage.active.clear
    stage.inbox.write("old", TODAY - 8 * DAY, count=100)
    stage.run(600.0)
    assert len(stage.inbox.steps) == 1
    stage.active.set()
    stage.inbox.on_step = stage.take_time
    stage.run(600.0)
    assert stage.inbox.rows == []


@pytest.mark.parametrize("error", [StoreUnavailableError("gone"), StoreError("permission denied for table inbox")])
def test_a_failure_is_told_once_and_waited_out(
    stage: Stage, error: Exception, logs: list[MutableMapping[str, Any]]
) -> None:
    stage.inbox.write("old", TODAY - 8 * DAY, count=100)
    stage.inbox.failures = [error] * 20
    stage.run(300.0)
    assert stage.inbox.rows == []
    (told,) = [line for line in logs if line["event"] == "waiting"]
    assert (told["task"], told["error"]) == ("pruning", str(error))


def test_it_says_how_much_it_has_deleted(stage: Stage, logs: list[MutableMapping[str, Any]]) -> None:
    stage.inbox.write("old", TODAY - 8 * DAY, count=500)
    stage.run(60.0)
    told = [line for line in logs if line["event"] == "rows_pruned"]
    assert {line["table"] for line in told} == {"inbox"}
    assert sum(line["count"] for line in told) == 500
