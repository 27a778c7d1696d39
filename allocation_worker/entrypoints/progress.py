"""A line now and then that says how much was done: a line a message would cost as much as the message."""

from collections.abc import Callable
from time import monotonic

import structlog

INTERVAL = 10.0

log = structlog.get_logger()


class Progress:
    """Counts, and logs the count every ten seconds in which there was something to count.

    Args:
        what: The log's event.
        clock: Seconds that never go back.
        context: More fields for the log.
    """

    def __init__(self, what: str, *, clock: Callable[[], float] = monotonic, **context: str) -> None:
        self._what = what
        self._clock = clock
        self._context = context
        self._count = 0
        self._since = self._clock()

    def add(self, count: int) -> None:
        if not self._count:
            self._since = max(self._since, self._clock() - INTERVAL)
        self._count += count
        elapsed = self._clock() - self._since
        if elapsed >= INTERVAL:
            log.info(self._what, count=self._count, per_second=round(self._count / elapsed, 1), **self._context)
            self._count = 0
            self._since = self._clock()
