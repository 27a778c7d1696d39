"""Where the product touches threads, sockets and clocks, and what stands there instead.

The product is not changed for it: these names are replaced in the modules that use them, for as long as `simulated`
lasts.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from itertools import count
from queue import Empty
from threading import Condition, Event
from types import SimpleNamespace, TracebackType
from typing import Any
from unittest.mock import patch

import structlog

from allocation_worker.adapters.rabbitmq import consumer, feed, queue_consumer
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
        self._items: deque[object] = deque()

    def put(self, item: object) -> None:
        self._items.append(item)

    def get(self, *, timeout: float | None = None) -> object:
        if not current.world().scheduler.wait(lambda: bool(self._items), timeout):
            raise Empty
        return self._items.popleft()


class SimulatedThread:
    """A task of the process that is being built."""

    def __init__(self, *, target: Callable[[], None], name: str, daemon: bool) -> None:
        del daemon
        self._target = target
        self._name = name
        self._process = current.process()

    def start(self) -> None:
        self._process.spawn(self._name, self._target)

    def join(self, timeout: float) -> None:
        pass


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
        with (
            patch.object(feed, "Condition", SimulatedCondition),
            patch.object(consumer, "SimpleQueue", SimulatedQueue),
            patch.object(consumer, "time", SimpleNamespace(monotonic=now)),
            patch.object(queue_consumer, "Thread", SimulatedThread),
        ):
            yield
    finally:
        structlog.configure(**logs)
