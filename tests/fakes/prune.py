"""The ports of pruning in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from allocation_worker.service_layer.ports import Step

TODAY = datetime(2031, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Row:
    """A row of a table that is pruned."""

    label: str
    written_at: datetime
    may_go: bool = True
    locked: bool = False


class FakeTable:
    """A table, read a few rows at a time.

    Attributes:
        rows: its rows.
        steps: the time of each step.
        failures: what the next steps raise.
        on_step: what else happens in each.
    """

    def __init__(self, *, keep: timedelta = timedelta(days=7), at_a_time: int = 10, name: str = "inbox") -> None:
        self.name = name
        self.keep = keep
        self.rows: list[Row] = []
        self.steps: list[datetime] = []
        self.failures: list[Exception] = []
        self.on_step: Callable[[], None] = lambda: None
        self._at_a_time = at_a_time
        self._read: list[Row] = []
        self._unread: list[Row] = []

    def step(self, now: datetime) -> Step:
        self.steps.append(now)
        self.on_step()
        if self.failures:
            raise self.failures.pop(0)
        if not self._unread:
            self._unread = list(self.rows)
        looked_at, self._unread = self._unread[: self._at_a_time], self._unread[self._at_a_time :]
        before = now - self.keep
        gone = [row for row in looked_at if row.may_go and not row.locked and row.written_at < before]
        self.rows = [row for row in self.rows if row not in gone]
        return Step(len(gone), ended=not self._unread)

    def steps_left(self) -> int:
        return max(1, len(self._unread) // self._at_a_time)

    def write(self, label: str, written_at: datetime, count: int = 1) -> None:
        self.rows += [Row(f"{label}-{number}", written_at) for number in range(count)]

    def left(self) -> set[str]:
        return {row.label.rpartition("-")[0] for row in self.rows}


class FakeTimes:
    """The clock of a database, which goes with another one unless it is told to be wrong.

    Attributes:
        ahead: how far it is ahead of the right time.
        kept: the time that is kept.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self.ahead = timedelta()
        self.kept = self.right_time()

    def right_time(self) -> datetime:
        return TODAY + timedelta(seconds=self._clock() - self._began)

    def server_time(self) -> datetime:
        return self.right_time() + self.ahead

    def reached(self) -> datetime:
        return self.kept

    def reach(self, before: datetime, after: datetime) -> bool:
        if self.kept != before:
            return False
        self.kept = after
        return True
