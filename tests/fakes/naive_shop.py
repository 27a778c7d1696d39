"""A second implementation of the domain rules, as simple as possible.

It shares no code with the program, so that tests can compare the two.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from allocation_worker.domain.commands import Allocate, ChangeBatchQuantity, Command, CreateBatch, Deallocate

Answer = tuple[str, dict[str, Any]]
"""The type of an event and its body; of a rejection, the reason alone."""


@dataclass
class NaiveBatch:
    reference: str
    sku: str
    qty: int
    eta: date | None
    announced: dict[str, Any]


@dataclass
class NaiveLine:
    key: tuple[str, str, str]
    qty: int = 0
    batch: NaiveBatch | None = None
    cancelled: bool = False
    answer: dict[str, Any] | None = None


class NaiveShop:
    """Answers commands with the events that they should cause."""

    def __init__(self) -> None:
        self.batches: list[NaiveBatch] = []
        self.lines: list[NaiveLine] = []
        self.counters: dict[str, int] = {}

    def available(self, batch: NaiveBatch) -> int:
        return batch.qty - sum(line.qty for line in self.lines if line.batch is batch)

    def answer(self, command: Command) -> list[Answer]:
        match command:
            case Allocate():
                return self._allocate(command)
            case Deallocate():
                return self._deallocate(command)
            case CreateBatch():
                return self._create(command)
            case ChangeBatchQuantity():
                return self._change(command)

    def _allocate(self, command: Allocate) -> list[Answer]:
        line = self._line(command.orderid, command.sku, command.lineid)
        if line and line.cancelled:
            return [rejected("line-cancelled")]
        if not any(batch.sku == command.sku for batch in self.batches):
            return [rejected("unknown-sku")]
        if line and line.batch and line.answer:
            same = line.qty == command.qty
            return [("allocated.v1", line.answer)] if same else [rejected("line-quantity-conflict")]
        if line is None:
            line = NaiveLine((command.orderid, command.sku, command.lineid))
            self.lines.append(line)
        line.qty = command.qty
        return [self._place(line)]

    def _deallocate(self, command: Deallocate) -> list[Answer]:
        line = self._line(command.orderid, command.sku, command.lineid)
        if line is None:
            line = NaiveLine((command.orderid, command.sku, command.lineid))
            self.lines.append(line)
        line.cancelled = True
        return [self._take_off(line, "cancelled")]

    def _create(self, command: CreateBatch) -> list[Answer]:
        content = {
            "batchref": command.batchref,
            "sku": command.sku,
            "qty": command.qty,
            "eta": command.eta and command.eta.isoformat(),
        }
        for batch in self.batches:
            if batch.reference == command.batchref:
                same = content | {"sequence": batch.announced["sequence"]} == batch.announced
                return [("batch-created.v1", batch.announced)] if same else [rejected("batch-exists")]
        announced = content | {"sequence": self._next(command.sku)}
        self.batches.append(NaiveBatch(command.batchref, command.sku, command.qty, command.eta, announced))
        return [("batch-created.v1", announced)]

    def _change(self, command: ChangeBatchQuantity) -> list[Answer]:
        batch = next((batch for batch in self.batches if batch.reference == command.batchref), None)
        if batch is None:
            return [rejected("unknown-batch")]
        body = {"batchref": batch.reference, "sku": batch.sku, "qty": command.qty, "previous_qty": batch.qty}
        answers = [("batch-quantity-changed.v1", body | {"sequence": self._next(batch.sku)})]
        batch.qty = command.qty
        moved = []
        while self.available(batch) < 0:
            holding = [line for line in self.lines if line.batch is batch]
            latest = max(holding, key=lambda line: line.answer["sequence"] if line.answer else 0)
            answers.append(self._take_off(latest, "batch-quantity-changed"))
            moved.append(latest)
        return answers + [self._place(line) for line in moved]

    def _place(self, line: NaiveLine) -> Answer:
        orderid, sku, lineid = line.key
        body = {"orderid": orderid, "sku": sku, "lineid": lineid, "qty": line.qty, "sequence": self._next(sku)}
        stock = [batch for batch in self.batches if batch.sku == sku and self.available(batch) > 0]
        in_warehouse = [batch for batch in stock if batch.eta is None]
        at_sea = sorted((batch for batch in stock if batch.eta), key=lambda batch: str(batch.eta))
        for batch in in_warehouse + at_sea:
            if self.available(batch) >= line.qty:
                line.batch = batch
                line.answer = body | {"batchref": batch.reference, "eta": batch.eta and batch.eta.isoformat()}
                return ("allocated.v1", line.answer)
        most = max([self.available(batch) for batch in stock], default=0)
        counted = [batch for batch in in_warehouse + at_sea if self.available(batch) == most][:1]
        etas = [batch.eta.isoformat() for batch in at_sea if batch not in counted and batch.eta]
        next_eta = etas[0] if etas else None
        return ("out-of-stock.v1", body | {"largest_available": most, "next_eta": next_eta})

    def _take_off(self, line: NaiveLine, reason: str) -> Answer:
        orderid, sku, lineid = line.key
        batchref = line.batch and line.batch.reference
        line.batch = line.answer = None
        body = {"orderid": orderid, "sku": sku, "lineid": lineid, "qty": line.qty, "batchref": batchref}
        return ("deallocated.v1", body | {"reason": reason, "sequence": self._next(sku)})

    def _line(self, orderid: str, sku: str, lineid: str) -> NaiveLine | None:
        return next((line for line in self.lines if line.key == (orderid, sku, lineid)), None)

    def _next(self, sku: str) -> int:
        self.counters[sku] = self.counters.get(sku, 0) + 1
        return self.counters[sku]


def rejected(reason: str) -> Answer:
    return ("command-rejected.v1", {"reason": reason})
