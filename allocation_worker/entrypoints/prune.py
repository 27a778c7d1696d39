"""Deletes old rows, in a thread of its own, a little at a time, while this relay is the active one."""

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Event
from time import monotonic

import structlog
from tenacity import sleep_using_event

from allocation_worker.entrypoints.availability import until_available
from allocation_worker.entrypoints.prune_clock import PruneClock
from allocation_worker.service_layer.ports import PrunedTable

ROUND_EVERY = 60.0
"""Seconds from the beginning of a round to that of the next, at least."""

ROUNDS_PER_KEEP = 12
"""A round takes at most this part of the time for which the table's rows are kept."""

LONGEST_PAUSE = 5.0
"""Seconds after a step that found nothing."""

FIRST_ROUND_PAUSE = 0.05
"""The same in the first round, when there may be much to delete anywhere."""

LOOK_EVERY = 1.0
"""Seconds between two looks at the clock of the database, and at whether this relay is the active one."""

log = structlog.get_logger()


class _Rounds:
    """When the next step of a table is due.

    A step that has deleted rows is followed by a pause as long as the step. One that found nothing is followed by a
    longer one, so that rounds through a table whose rows are young cost next to nothing.
    """

    def __init__(self, table: PrunedTable, now: float) -> None:
        self.table = table
        self.due = now
        self._began = now
        self._first = True
        self._rows = 0

    def step(self, now: datetime, clock: Callable[[], float]) -> None:
        began = clock()
        rows, round_ended = self.table.step(now)
        ended = clock()
        pause = ended - began if rows else FIRST_ROUND_PAUSE if self._first else self._long_pause(ended)
        self.due = ended + pause
        self._rows += rows
        if round_ended:
            self._end_round()

    def _end_round(self) -> None:
        if self._rows:
            log.info("rows_pruned", table=self.table.name, count=self._rows)
        self._began = self.due = max(self.due, self._began + ROUND_EVERY)
        self._first = False
        self._rows = 0

    def _long_pause(self, now: float) -> float:
        until = self._began + self.table.keep.total_seconds() / ROUNDS_PER_KEEP
        return min(LONGEST_PAUSE, max(0.0, until - now) / self.table.steps_left())


class Pruner:
    """Prunes while this relay is the active one, through any absence of the database.

    Args:
        tables: What to prune.
        prune_clock: Says what is old.
        active: Is set while this relay is the active one.
        stopping: Set it to stop.
        sleep: Waits so many seconds; by default until `stopping` is set.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        tables: Sequence[PrunedTable],
        prune_clock: PruneClock,
        *,
        active: Event,
        stopping: Event,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._prune_clock = prune_clock
        self._active = active
        self._stopping = stopping
        self._sleep = sleep or sleep_using_event(stopping)
        self._clock = clock
        self._rounds = [_Rounds(table, clock()) for table in tables]

    def run(self) -> None:
        """Prune until told to stop."""
        while not self._stopping.is_set():
            if self._active.is_set():
                until_available(
                    self._prune,
                    stopping=self._stopping,
                    waiting_for="the database",
                    sleep=self._sleep,
                    clock=self._clock,
                    once=True,
                    task="pruning",
                )
            else:
                self._sleep(LOOK_EVERY)

    def _prune(self) -> None:
        self._prune_clock.start()
        while self._active.is_set() and not self._stopping.is_set():
            # Also while there is nothing to do: the clock of the database may be behind for a moment, and rows written
            # then must not look old afterwards.
            now = self._prune_clock.now()
            rounds = min(self._rounds, key=lambda each: each.due)
            wait = rounds.due - self._clock()
            if wait > 0:
                self._sleep(min(wait, LOOK_EVERY))
            else:
                rounds.step(now, self._clock)
