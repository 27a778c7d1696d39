"""The ports of pruning in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from allocation_worker.domain.lines import LineId
from allocation_worker.service_layer.ports import Step
from tests.fakes.unit_of_work import FakeDatabase

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


class FakeEndedLines:
    """The lines of the store in memory, as `EndedRows` prunes them.

    Args:
        database: The store.
        keep: How long a line is kept.
        spared: Says that a line is not pruned, for whatever reason.
    """

    name = "order_lines"

    def __init__(
        self,
        database: FakeDatabase,
        *,
        keep: timedelta = timedelta(days=90),
        spared: Callable[[str, LineId], bool] = lambda _sku, _line: False,
    ) -> None:
        self.keep = keep
        self._database = database
        self._spared = spared

    def step(self, now: datetime) -> Step:
        committed = self._database.committed
        gone = 0
        for (sku, line_id), ended_at in list(committed.ended.items()):
            if self._database.locks.holder(("sku", sku)):
                continue
            if ended_at is None:
                committed.ended[sku, line_id] = self._database.now()
            elif ended_at < now - self.keep and not self._spared(sku, line_id):
                del committed.ended[sku, line_id]
                line = committed.products[sku].lines.pop(line_id)
                if line.batchref is not None:
                    committed.pruned[line.batchref] = committed.pruned.get(line.batchref, 0) + line.qty
                gone += 1
        return Step(gone, ended=True)

    def steps_left(self) -> int:
        return 1


class FakeEndedBatches:
    """The batches of the store in memory, as `EndedRows` prunes them.

    Args:
        database: The store.
        keep: How long a batch is kept.
        spared: Says that a batch is not pruned, for whatever reason.
    """

    name = "batches"

    def __init__(
        self,
        database: FakeDatabase,
        *,
        keep: timedelta = timedelta(days=90),
        spared: Callable[[str], bool] = lambda _reference: False,
    ) -> None:
        self.keep = keep
        self._database = database
        self._spared = spared

    def step(self, now: datetime) -> Step:
        committed = self._database.committed
        today = self._database.now().date()
        gone = 0
        for sku, product in list(committed.products.items()):
            if self._database.locks.holder(("sku", sku)):
                continue
            for reference, batch in list(product.batches.items()):
                nothing_left = batch.purchased_quantity == committed.pruned.get(reference, 0)
                if not nothing_left or (batch.eta and batch.eta >= today):
                    continue
                ended_at = committed.batches_ended.get(reference)
                if ended_at is None:
                    committed.batches_ended[reference] = self._database.now()
                elif ended_at < now - self.keep and not self._spared(reference):
                    committed.prune_batch(reference, sku)
                    gone += 1
        return Step(gone, ended=True)

    def steps_left(self) -> int:
        return 1


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
