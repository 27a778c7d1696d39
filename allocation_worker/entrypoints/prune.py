"""Deletes old rows, a little at a time, while this relay is the active one."""

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from allocation_worker.entrypoints.prune_clock import PruneClock
from allocation_worker.entrypoints.while_active import LOOK_EVERY, WhileActive
from allocation_worker.service_layer.ports import PrunedTable

ROUND_EVERY = 60.0
"""Seconds from the beginning of a round to that of the next, at least."""

ROUNDS_PER_KEEP = 12
"""A round takes at most this part of the time for which the table's rows are kept."""

LONGEST_PAUSE = 5.0
"""Seconds after a step that found nothing."""

FIRST_ROUND_PAUSE = 0.05
"""The same in the first round, when there may be much to delete anywhere."""

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
    """Prunes several tables.

    Args:
        tables: What to prune.
        prune_clock: Says what is old.
        while_active: When to do so.
    """

    def __init__(self, tables: Sequence[PrunedTable], prune_clock: PruneClock, while_active: WhileActive) -> None:
        self._prune_clock = prune_clock
        self._while_active = while_active
        self._clock = while_active.clock
        self._rounds = [_Rounds(table, self._clock()) for table in tables]

    def run(self) -> None:
        """Prune until told to stop."""
        self._while_active.run(self._prune, "pruning")

    def _prune(self) -> None:
        self._prune_clock.start()
        while self._while_active.lasts():
            # Also while there is nothing to do: the clock of the database may be behind for a moment, and rows written
            # then must not look old afterwards.
            now = self._prune_clock.now()
            rounds = min(self._rounds, key=lambda each: each.due)
            wait = rounds.due - self._clock()
            if wait > 0:
                self._while_active.sleep(min(wait, LOOK_EVERY))
            else:
                rounds.step(now, self._clock)
