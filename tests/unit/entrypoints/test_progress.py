"""The periodic progress log."""

import pytest
from structlog.testing import capture_logs

from allocation_worker.entrypoints.progress import INTERVAL, Progress
from tests.fakes.relay import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_counts_are_told_together_every_interval(clock: Clock) -> None:
    with capture_logs() as lines:
        done = Progress("commands answered", clock=clock, queue="q")
        for _ in range(25):
            done.add(10)
            clock.now += 1.0
    assert [(line["event"], line["count"], line["queue"]) for line in lines] == [
        ("commands answered", 110, "q"),
        ("commands answered", 100, "q"),
    ]
    assert lines[0]["per_second"] == pytest.approx(110 / INTERVAL)


def test_after_a_long_rest_the_first_one_is_told_at_once(clock: Clock) -> None:
    with capture_logs() as lines:
        done = Progress("commands answered", clock=clock)
        clock.now += 1000.0
        done.add(1)
    assert [line["count"] for line in lines] == [1]


def test_silence_while_nothing_happens(clock: Clock) -> None:
    with capture_logs() as lines:
        Progress("commands answered", clock=clock)
        clock.now += 1000.0
    assert lines == []
