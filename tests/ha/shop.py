"""A shop on the service: it publishes commands steadily, waits for their answers, and measures how long none come."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from chaos import orders
from harness.checker.read_model import compare, read_model, write_model
from harness.service import RunningService

RATE = 120
"""Commands per second."""

_SEED = 20261126
_WITHIN = 240.0
_PROCESSES = ("consume", "consume", "relay", "relay", "project")


@dataclass(slots=True)
class Event:
    """What happened to the answers around an event. Times are in seconds.

    Attributes:
        silence: The longest time without an answer.
        waiting: The most commands that waited for their answers at once.
    """

    silence: float = 0.0
    waiting: int = 0


class Shop:
    """The service's processes, and a program that publishes commands at a steady rate.

    Args:
        servers: The servers to use.
        redis_url: The Redis of the read model.
        logs: The folder for the logs of the processes.
    """

    def __init__(self, servers: Servers, redis_url: str, logs: Path) -> None:
        self.service = RunningService(servers, logs, {"ALLOCATION_REDIS_URL": redis_url})
        self.client = self.service.client()
        self._redis_url = redis_url
        self._orders = orders.Orders(_SEED)
        self._random = random.Random(_SEED)
        self._stocked = 0
        self._published: list[str] = []
        self._closed = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.service)
            stack.enter_context(self.client)
            for verb in _PROCESSES:
                self.service.start(verb)
            for command in orders.stock(_SEED):
                self.client.send(command)
                self._stocked += 1
            self.client.wait_answered(within=_WITHIN)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Publish commands until the end of the block, and some of them again."""
        self._closed.clear()
        thread = threading.Thread(target=self._publish, name="shop", daemon=True)
        thread.start()
        try:
            self.wait_for_answers()
            yield
        finally:
            self._closed.set()
            thread.join()

    @contextmanager
    def observed(self, name: str) -> Iterator[Event]:
        """Measure the answers in the block. At its end, wait until answers come again, and print the result."""
        event, began = Event(), time.monotonic()
        watching = threading.Event()

        def watch() -> None:
            while not watching.wait(0.1):
                event.waiting = max(event.waiting, self.waiting)

        thread = threading.Thread(target=watch, name="observer", daemon=True)
        thread.start()
        try:
            yield event
            self.wait_for_answers()
        finally:
            watching.set()
            thread.join()
            event.silence = self._longest_silence(began, time.monotonic())
            print(f"{name}: {event.silence:.1f} s without an answer, {event.waiting} commands waited at most")  # noqa: T201 - pytest shows it

    @property
    def waiting(self) -> int:
        """The number of commands that have no answer yet."""
        return self._stocked + len(self._published) - len(self.client.outcomes)

    def wait_for_answers(self) -> None:
        """Wait until all commands are answered that were published before this call, and a later one.

        Raises:
            TimeoutError: It took longer than four minutes.
        """
        wanted = set(self._published)
        count = len(wanted)
        wait_until(
            lambda: len(self._published) > count and wanted | {self._published[count]} <= self.client.outcomes.keys(),
            within=_WITHIN,
            every=0.1,
            otherwise=lambda: (
                f"{len(wanted - self.client.outcomes.keys())} answers are missing. {self._ends_of_logs()}"
            ),
        )

    def trade_for(self, seconds: float) -> None:
        """Return once this many seconds' worth of commands are published. The shop must be open."""
        wanted = len(self._published) + seconds * RATE
        wait_until(
            lambda: len(self._published) >= wanted,
            within=3 * seconds + 10,
            every=0.1,
            otherwise=lambda: "The shop publishes too slowly.",
        )

    def judge(self) -> None:
        """Check that nothing was lost, doubled or oversold so far. The shop must be closed."""
        self.client.wait_answered(within=_WITHIN)
        report = self.service.judge(self.client)
        assert report.faults == []
        assert self.service.count_dead_letters() == 0
        assert [process.exit_code for process in self.service.processes] == [None] * len(_PROCESSES)
        wait_until(lambda: not self._differences(), within=60, every=0.5, otherwise=lambda: f"{self._differences()}")
        events = self.client.received
        repeats = len(events) - len({event.message_id for event in events})
        print(f"  {len(self.client.sent)} commands confirmed, {len(events)} events ({repeats} repeats), no fault")  # noqa: T201 - as above

    def _differences(self) -> list[str]:
        return compare(read_model(self._redis_url), write_model(self.service.database_url))

    def _longest_silence(self, began: float, ended: float) -> float:
        times = list(self.client.answered_at)
        before = [moment for moment in times if moment <= began]
        inside = [moment for moment in times if began < moment <= ended]
        moments = [before[-1] if before else began, *inside]
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)

    def _ends_of_logs(self) -> str:
        return "\n".join(process.log[-1500:] for process in self.service.processes)

    def _publish(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._closed.wait(0.02):
            due = int((time.monotonic() - began) * RATE)
            for _ in range(sent, due):
                command = self._orders.next()
                message_id = self.client.send(command)
                self._published.append(message_id)
                if self._random.random() < 0.02:
                    self.client.send(command, message_id=message_id)
            sent = due
