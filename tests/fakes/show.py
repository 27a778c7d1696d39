"""The lines that wait or are held, read from the store in memory."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from allocation_worker.domain.lines import OrderLine
from allocation_worker.service_layer.ports.show import BatchUse, HeldLine, LineKey, LineQueue, SkuQueue, WaitingLine
from tests.fakes.unit_of_work import FakeDatabase


class FakeLinesNow:
    """Looks at every line, each time."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self._state = database.committed

    def queue(self, sku: str, limit: int) -> LineQueue:
        lines = [self._waiting_line(sku, line) for line in self._in_turn(sku)]
        return LineQueue(lines[:limit], len(lines), sum(line.qty for line in lines), _first(lines))

    def knows(self, sku: str) -> bool:
        return sku in self._state.products

    def queues(self, limit: int) -> tuple[Sequence[SkuQueue], int]:
        found = [(sku, self.queue(sku, 0)) for sku in self._state.products]
        queues = [SkuQueue(sku, queue.total, queue.qty, queue.since) for sku, queue in found if queue.total]
        return sorted(queues, key=lambda queue: (-queue.total, queue.sku))[:limit], len(queues)

    def waiting(self, lines: Collection[LineKey]) -> Sequence[WaitingLine]:
        return [self._waiting_line(sku, line) for sku, line in self._found(lines) if line.waits]

    def held(self, lines: Collection[LineKey]) -> Sequence[HeldLine]:
        return [
            HeldLine(line.orderid, sku, line.lineid, line.qty, line.batchref or "", until, self._seconds_left(until))
            for sku, line in self._found(lines)
            if line.hold and (until := line.hold.until)
        ]

    def use(self, batchrefs: Collection[str]) -> Mapping[str, BatchUse]:
        return {
            reference: self._use_of(sku, reference)
            for reference in batchrefs
            if (sku := self._state.sku_of(reference)) is not None
        }

    def _use_of(self, sku: str, reference: str) -> BatchUse:
        product = self._state.products[sku]
        held = [line for line in product.lines.values() if line.hold and line.batchref == reference]
        lapse = min((line.hold.until for line in held if line.hold), default=None)
        shipped = product.batches[reference].shipped_quantity
        return BatchUse(sum(line.qty for line in held), len(held), lapse, shipped)

    def _found(self, lines: Collection[LineKey]) -> Iterator[tuple[str, OrderLine]]:
        for orderid, sku, lineid in sorted(lines, key=lambda key: (key[1], key[0], key[2])):
            product = self._state.products.get(sku)
            if product and (line := product.lines.get((orderid, lineid))):
                yield sku, line

    def _in_turn(self, sku: str) -> list[OrderLine]:
        product = self._state.products.get(sku)
        lines = product.lines.values() if product else ()
        return sorted((line for line in lines if line.waits), key=lambda line: line.turn)

    def _waiting_line(self, sku: str, line: OrderLine) -> WaitingLine:
        return WaitingLine(
            line.orderid,
            sku,
            line.lineid,
            line.qty,
            line.terms.priority,
            line.terms.needed_by,
            self._in_turn(sku).index(line),
            self._state.waits_since[sku, line.orderid, line.lineid],
        )

    def _seconds_left(self, until: datetime) -> float:
        return (until - self._database.now()).total_seconds()


def _first(lines: Sequence[WaitingLine]) -> datetime | None:
    return min((line.since for line in lines if line.since), default=None)


@contextmanager
def open_lines(database: FakeDatabase) -> Iterator[FakeLinesNow]:
    """The lines as they stand now."""
    yield FakeLinesNow(database)
