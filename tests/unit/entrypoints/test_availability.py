"""Waiting for an unreachable server."""

from collections.abc import Callable, MutableMapping
from threading import Event
from typing import Any

import pytest

from allocation_worker.entrypoints.availability import LONGEST_PAUSE, until_available
from allocation_worker.service_layer.ports import StoreContentionError, StoreError, StoreUnavailableError
from tests.fakes.relay import Clock


class Server:
    """Fails as often as it is told to, and keeps the pauses between the calls.

    Attributes:
        failures: how many calls are still to fail.
        lasts: seconds that a call takes.
        stop_at: the pause in which `stopping` is set.
    """

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or StoreUnavailableError("gone")
        self.lasts = 0.0
        self.stop_at = -1
        self.calls = 0
        self.pauses: list[float] = []
        self.stopping = Event()
        self.clock = Clock()

    def call(self) -> str:
        self.calls += 1
        self.clock.now += self.lasts
        if self.failures:
            self.failures -= 1
            raise self.error
        return "answer"

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self.stop_at:
            self.stopping.set()

    def wait(self, on_failure: Callable[[], None] | None = None) -> str | None:
        return until_available(
            self.call,
            stopping=self.stopping,
            waiting_for="the database",
            sleep=self.sleep,
            clock=self.clock,
            on_failure=on_failure,
            queue="q",
        )


def test_what_answers_at_once_is_called_once(logs: list[MutableMapping[str, Any]]) -> None:
    server = Server(failures=0)
    assert server.wait() == "answer"
    assert server.calls == 1
    assert logs == []


@pytest.mark.parametrize("error", [StoreUnavailableError("gone"), StoreContentionError("deadlock")])
def test_it_is_called_until_it_answers_with_ever_longer_pauses(error: Exception) -> None:
    server = Server(failures=200, error=error)
    assert server.wait() == "answer"
    assert server.calls == 201
    for count, pause in enumerate(server.pauses):
        assert 0 <= pause <= min(LONGEST_PAUSE, 0.1 * 2**count)
    assert max(server.pauses) > LONGEST_PAUSE / 2


def test_a_statement_that_the_store_refuses_is_tried_again_since_somebody_can_mend_the_store() -> None:
    server = Server(failures=1, error=StoreError("no such table"))
    assert server.wait() == "answer"


def test_any_other_error_is_raised() -> None:
    server = Server(failures=1, error=ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        server.wait()
    assert server.calls == 1


def test_each_failure_is_logged_with_its_context(logs: list[MutableMapping[str, Any]]) -> None:
    server = Server(failures=2)
    told: list[int] = []
    server.wait(on_failure=lambda: told.append(server.calls))
    assert [(line["event"], line["waiting_for"]) for line in logs] == [("waiting", "the database")] * 2
    assert {(line["queue"], line["error"]) for line in logs} == {("q", "gone")}
    assert told == [1, 2]


def test_told_to_stop_while_it_waits_it_does_not_try_again() -> None:
    server = Server(failures=100)
    server.stop_at = 3
    assert server.wait() is None
    assert server.calls == 3


def test_told_to_stop_before_it_begins_it_tries_once() -> None:
    server = Server(failures=0)
    server.stopping.set()
    assert server.wait() == "answer"
    failing = Server(failures=100)
    failing.stopping.set()
    assert failing.wait() is None
    assert failing.calls == 1


def test_the_pauses_start_anew_after_a_call_that_worked_for_a_while() -> None:
    server = Server(failures=100)
    server.lasts = LONGEST_PAUSE + 1
    server.wait()
    assert max(server.pauses) <= 0.2


def test_without_a_sleep_of_its_own_it_waits_until_it_is_told_to_stop() -> None:
    stopping = Event()
    server = Server(failures=100)
    assert until_available(server.call, stopping=stopping, waiting_for="x", on_failure=stopping.set) is None
    assert server.calls == 1
