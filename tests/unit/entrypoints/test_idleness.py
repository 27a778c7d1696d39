"""A process that has nothing to do says so now and then."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from allocation_worker.entrypoints.signs_of_life import IDLE_EVERY, Idleness, Loop, SignsOfLife


class Shop:
    """A process with one loop, and a clock that the test moves."""

    def __init__(self, logged: list[EventDict]) -> None:
        self.now = 1_000_000.0
        self.logged = logged
        signs = SignsOfLife("consume", limit=60, pid=1)
        self.loop: Loop = signs.loop("worker of orders")
        self._idleness = Idleness(signs, clock=lambda: self.now)

    def after(self, seconds: float) -> list[tuple[int, list[str]]]:
        """Let time pass, second by second; what is said of it."""
        self.logged.clear()
        for _ in range(round(seconds)):
            self.now += 1
            self._idleness.look()
        assert {line["event"] for line in self.logged} <= {"idle"}
        return [(line["seconds"], line["waiting_for"]) for line in self.logged]


@pytest.fixture
def shop() -> Iterator[Shop]:
    with capture_logs() as logged:
        yield Shop(logged)


def test_nothing_is_said_before_it_is_time(shop: Shop) -> None:
    assert shop.after(IDLE_EVERY - 1) == []


def test_it_is_said_every_ten_minutes_with_the_whole_time(shop: Shop) -> None:
    assert shop.after(3 * IDLE_EVERY) == [(600, []), (1200, []), (1800, [])]


def test_work_puts_it_off(shop: Shop) -> None:
    shop.after(IDLE_EVERY - 1)
    shop.loop.settled = shop.now
    assert shop.after(IDLE_EVERY - 1) == []
    assert shop.after(1) == [(600, [])]


def test_what_is_away_is_named(shop: Shop) -> None:
    shop.loop.waiting_for = "the database"
    assert shop.after(IDLE_EVERY) == [(600, ["the database"])]
