"""The clock of pruning follows that of the database, but cannot be hurried."""

from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocation_worker.entrypoints.prune_clock import FASTEST, KEPT_EVERY, PruneClock
from tests.fakes.prune import TODAY, FakeTimes
from tests.fakes.relay import Clock

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Stage:
    """A database with a clock, and the relays that use it one after the other."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.times = FakeTimes(self.clock)
        self.prune_clock = self.restarted()

    def restarted(self) -> PruneClock:
        self.prune_clock = PruneClock(self.times, clock=self.clock)
        self.prune_clock.start()
        return self.prune_clock

    def run(self, time: timedelta, every: float = 1.0) -> None:
        for _ in range(round(time.total_seconds() / every)):
            self.clock.now += every
            self.prune_clock.now()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_it_goes_with_the_clock_of_the_database(stage: Stage) -> None:
    stage.run(HOUR)
    assert stage.prune_clock.now() == stage.times.right_time()


def test_a_jump_of_forty_days_for_a_minute_is_a_minute(stage: Stage) -> None:
    stage.times.ahead = 40 * DAY
    stage.run(MINUTE)
    assert stage.prune_clock.now() <= stage.times.right_time() + MINUTE
    stage.times.ahead = timedelta()
    assert stage.prune_clock.now() == stage.times.right_time()


def test_nor_do_restarts_during_the_jump_hurry_it(stage: Stage) -> None:
    stage.times.ahead = 40 * DAY
    for _ in range(20):
        stage.restarted()
        stage.run(timedelta(seconds=3))
    assert stage.prune_clock.now() <= stage.times.right_time() + MINUTE


def test_time_without_a_relay_does_not_count_at_once(stage: Stage) -> None:
    stage.run(HOUR)
    stage.clock.now += 10 * 86400
    stage.restarted()
    assert stage.prune_clock.now() <= TODAY + HOUR


def test_it_catches_up_in_as_long_as_the_stop_took(stage: Stage) -> None:
    stage.clock.now += HOUR.total_seconds()
    stage.restarted()
    stage.run(HOUR - 2 * MINUTE)
    assert stage.prune_clock.now() < stage.times.right_time()
    stage.run(3 * MINUTE)
    assert stage.prune_clock.now() == stage.times.right_time()


def test_a_clock_that_was_behind_for_a_moment_leaves_it_behind(stage: Stage) -> None:
    """Else rows that were written in that moment would look old as soon as it is over."""
    stage.times.ahead = -40 * DAY
    stage.run(timedelta(seconds=2))
    stage.times.ahead = timedelta()
    stage.run(DAY, every=60)
    assert stage.prune_clock.now() <= stage.times.right_time() - 38 * DAY


def test_two_relays_at_the_same_time_do_not_add_up(stage: Stage) -> None:
    first, second = stage.prune_clock, stage.restarted()
    stage.times.ahead = 40 * DAY
    for _ in range(6000):
        stage.clock.now += 1
        reached = max(first.now(), second.now())
    credit = timedelta(seconds=2 * FASTEST * KEPT_EVERY)
    assert reached <= TODAY + timedelta(seconds=FASTEST * 6000) + credit


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 20), st.booleans()), max_size=12))
def test_a_row_stays_for_half_of_its_days_whatever_the_clock_says(periods: list[tuple[int, int, bool]]) -> None:
    """A row is written in the middle of the first period, in which a relay runs."""
    stage = Stage()
    keep = 7 * DAY
    stage.times.ahead = (periods[0][0] if periods else 0) * DAY
    stage.run(MINUTE)
    written, stamp = stage.clock.now, stage.times.server_time()
    for ahead, hours, restart in periods:
        stage.times.ahead = ahead * DAY
        if restart:
            stage.restarted()
        stage.run(hours * HOUR, every=600)
        if stage.prune_clock.now() - keep > stamp:
            assert stage.clock.now - written >= (keep / FASTEST).total_seconds()


def test_it_is_said_once_that_the_clock_of_the_database_is_far_ahead(
    stage: Stage, logs: list[MutableMapping[str, Any]]
) -> None:
    stage.times.ahead = DAY
    stage.run(MINUTE)
    stage.times.ahead = timedelta()
    stage.run(MINUTE)
    stage.times.ahead = DAY
    stage.run(MINUTE)
    assert [line["event"] for line in logs] == ["prune_clock_behind"] * 2
