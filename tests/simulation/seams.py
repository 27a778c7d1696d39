"""The replacements for threads and clocks in a simulation."""

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, MutableMapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import count
from threading import Condition, Event
from types import TracebackType
from typing import Any

import structlog

from allocation_worker.adapters.rabbitmq.threads import Threads, run_into
from allocation_worker.entrypoints.relay import Waker
from tests.simulation import current

_QUIET = structlog.make_filtering_bound_logger(logging.CRITICAL)


class SimulatedCondition(Condition):
    """Never taken by two, since one task runs at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._notices = 0

    def __enter__(self) -> bool:
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def wait(self, timeout: float | None = None) -> bool:
        before = self._notices
        return current.world().scheduler.wait(lambda: self._notices != before, timeout)

    def notify(self, n: int = 1) -> None:
        self._notices += n

    def notify_all(self) -> None:
        self._notices += 1


class SimulatedEvent(Event):
    """Waits by the simulated clock."""

    def wait(self, timeout: float | None = None) -> bool:
        return current.world().scheduler.wait(self.is_set, timeout)


class SimulatedQueue:
    """As `queue.SimpleQueue`."""

    def __init__(self) -> None:
        self._items: deque[None] = deque()

    def put(self, item: None) -> None:
        self._items.append(item)

    def get(self) -> None:
        current.world().scheduler.wait(lambda: bool(self._items), None)
        self._items.popleft()


class SimulatedThreads(Threads):
    """The tasks of a process.

    Args:
        start: Starts a task.
    """

    def __init__(self, start: Callable[[str, Callable[[], None]], None]) -> None:
        self._start = start

    def spawn(self, name: str, function: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self._start(name, partial(run_into, future, function))
        return future

    def wait(self, futures: Collection[Future[None]], timeout: float) -> None:
        current.world().scheduler.wait(lambda: all(future.done() for future in futures), timeout)

    def condition(self) -> Condition:
        return SimulatedCondition()

    def queue(self) -> Any:
        return SimulatedQueue()


class SimulatedWaker(Waker):
    """No pipe: whoever waits looks at `awake`."""

    _numbers = count(1000)

    def __init__(self) -> None:
        self.fd = next(self._numbers)
        self.awake = False

    def wake(self) -> None:
        self.awake = True

    def clear(self) -> None:
        self.awake = False

    def wait(self, timeout: float) -> None:
        current.world().scheduler.wait(lambda: self.awake, timeout)
        self.clear()


def now() -> float:
    """As `time.monotonic`."""
    return current.world().scheduler.now


def sleep(seconds: float) -> None:
    """As `time.sleep`."""
    current.world().scheduler.sleep(seconds)


def _to_trace(_logger: object, method: str, event: MutableMapping[str, Any]) -> Any:
    words = " ".join(f"{name}={value!r}" for name, value in event.items() if name not in {"event", "exc_info"})
    current.world().note(f"log {method}: {event['event']} {words}")
    raise structlog.DropEvent


@contextmanager
def simulated(*, with_logs: bool = False) -> Iterator[None]:
    """Let the product run in simulated worlds. The logs go into the world's trace, or nowhere."""
    logs = structlog.get_config()
    structlog.configure(
        processors=[_to_trace], wrapper_class=structlog.make_filtering_bound_logger(0) if with_logs else _QUIET
    )
    try:
        yield
    finally:
        structlog.configure(**logs)
