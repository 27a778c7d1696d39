"""A second implementation of the domain rules, as simple as possible.

It shares no code with the program, so that tests can compare the two.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    LapseHold,
    Ship,
)

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
    shipped: bool = False
    place: int | None = None
    wait: bool = False
    priority: int = 0
    needed_by: date | None = None
    answer: dict[str, Any] | None = None
    answer_type: str = ""
    until: datetime | None = None
    held_by: str = ""

    @property
    def waits(self) -> bool:
        return self.wait and self.batch is None and not self.cancelled


class NaiveShop:
    """Answers commands with the events that they should cause."""

    def __init__(self) -> None:
        self.batches: list[NaiveBatch] = []
        self.lines: list[NaiveLine] = []
        self.counters: dict[str, int] = {}

    def available(self, batch: NaiveBatch) -> int:
        return batch.qty - sum(line.qty for line in self.lines if line.batch is batch)

    def answer(self, command: Command) -> list[Answer]:  # noqa: PLR0911 - one for each command
        match command:
            case Allocate():
                return self._allocate(command)
            case Deallocate():
                return self._deallocate(command)
            case ChangeLineQuantity():
                return self._change_line(command)
            case Ship():
                return self._ship(command)
            case Hold():
                return self._hold(command)
            case LapseHold():
                return self._end_hold(command)
            case CreateBatch():
                return self._create(command)
            case ChangeBatchQuantity():
                return self._change(command)
            case ChangeBatchEta():
                return self._change_eta(command)

    def _allocate(self, command: Allocate) -> list[Answer]:  # noqa: PLR0911 - one for each rule
        line = self._line(command.orderid, command.sku, command.lineid)
        if line and line.cancelled:
            return [rejected("line-cancelled")]
        if line and line.shipped:
            return [rejected("line-shipped")]
        if not any(batch.sku == command.sku for batch in self.batches):
            return [rejected("unknown-sku")]
        if line and line.batch and line.until and line.qty == command.qty:
            return self._confirm(line, command)
        if line and line.batch and line.answer:
            same = line.qty == command.qty
            return [(line.answer_type, line.answer)] if same else [rejected("line-quantity-conflict")]
        if line is None:
            line = NaiveLine((command.orderid, command.sku, command.lineid))
            self.lines.append(line)
        if line.waits and line.answer and command.wait and line.qty == command.qty:
            return [(line.answer_type, line.answer)]
        if line.waits and command.qty > line.qty:
            line.place = None
        line.qty = command.qty
        line.wait, line.priority, line.needed_by = command.wait, command.priority, command.needed_by
        return [self._look_for_stock(line)]

    def _confirm(self, line: NaiveLine, command: Allocate) -> list[Answer]:
        own, line.batch, line.until = line.batch, None, None
        line.wait, line.priority, line.needed_by = command.wait, command.priority, command.needed_by
        if own in self._for(line):
            return [self._take(line, own)]
        return [self._look_for_stock(line), *self._serve(command.sku)]

    def _hold(self, command: Hold) -> list[Answer]:  # noqa: PLR0911 - one for each rule
        line = self._line(command.orderid, command.sku, command.lineid)
        if line and line.cancelled:
            return [rejected("line-cancelled")]
        if line and line.shipped:
            return [rejected("line-shipped")]
        if not any(batch.sku == command.sku for batch in self.batches):
            return [rejected("unknown-sku")]
        if line is None:
            line = NaiveLine((command.orderid, command.sku, command.lineid))
            self.lines.append(line)
        own, before = line.batch, line.qty
        if own and line.until is None and before != command.qty:
            return [rejected("line-quantity-conflict")]
        if own and line.answer and before == command.qty and line.until in {None, command.until}:
            return [(line.answer_type, line.answer)]
        if line.waits and command.qty > before:
            line.place = None
        line.batch, line.qty = None, command.qty
        line.wait, line.priority, line.needed_by = False, 0, None
        takers = [batch for batch in self._for(line) if self.available(batch) >= command.qty]
        if own and not takers:
            line.batch, line.qty = own, before
            return [rejected("not-enough-stock")]
        line.until, line.held_by = (command.until, command.message_id) if takers else (None, "")
        taken = self._take(line, own if own in takers else takers[0]) if takers else self._look_for_stock(line)
        return [taken, *self._serve(command.sku)]

    def _end_hold(self, command: LapseHold) -> list[Answer]:
        line = self._line(command.orderid, command.sku, command.lineid)
        if line is None or line.until is None or line.held_by != command.message_id:
            return []
        own, line.batch = line.batch, None
        return [self._lapse(line, own), *self._serve(command.sku)]

    def _lapse(self, line: NaiveLine, own: NaiveBatch | None) -> Answer:
        orderid, sku, lineid = line.key
        assert own
        self.lines.remove(line)
        body = {"orderid": orderid, "sku": sku, "lineid": lineid, "qty": line.qty, "batchref": own.reference}
        return ("hold-lapsed.v1", body | {"sequence": self._count(line)})

    def _deallocate(self, command: Deallocate) -> list[Answer]:
        line = self._line(command.orderid, command.sku, command.lineid)
        if line is None:
            line = NaiveLine((command.orderid, command.sku, command.lineid))
            self.lines.append(line)
        if line.shipped:
            return [rejected("line-shipped")]
        line.cancelled = True
        line.until = None
        return [self._take_off(line, "cancelled"), *self._serve(command.sku)]

    def _change_line(self, command: ChangeLineQuantity) -> list[Answer]:  # noqa: PLR0911 - one for each rule
        line = self._line(command.orderid, command.sku, command.lineid)
        if line and line.cancelled:
            return [rejected("line-cancelled")]
        if line is None:
            return [rejected("unknown-line")]
        if line.shipped:
            return [rejected("line-shipped")]
        if command.from_qty not in {None, line.qty}:
            return [rejected("line-quantity-conflict")]
        no_news = line.answer_type == "out-of-stock.v1"
        if line.qty == command.qty and line.answer and not no_news:
            return [(line.answer_type, line.answer)]
        previous, held = line.qty, line.batch
        line.qty, line.batch = command.qty, None
        taker = None
        if held and self.available(held) >= line.qty:
            taker = held
        elif held or line.wait:
            taker = next((batch for batch in self._for(line) if self.available(batch) >= line.qty), None)
        if held and taker is None:
            line.qty, line.batch = previous, held
            return [rejected("not-enough-stock")]
        if held is None and line.wait and command.qty > previous:
            line.place = None
        line.batch = taker
        body = {"orderid": command.orderid, "sku": command.sku, "lineid": command.lineid, "qty": command.qty}
        body |= {"previous_qty": previous, "batchref": taker and taker.reference}
        eta = taker and taker.eta and taker.eta.isoformat()
        line.answer = body | {"eta": eta, "sequence": self._count(line)}
        line.answer_type = "line-quantity-changed.v1"
        return [(line.answer_type, line.answer), *self._serve(command.sku)]

    def _ship(self, command: Ship) -> list[Answer]:
        line = self._line(command.orderid, command.sku, command.lineid)
        if line and line.cancelled:
            return [rejected("line-cancelled")]
        if line is None or line.batch is None or line.until:
            return [rejected("line-not-allocated")]
        if line.batch.eta:
            return [rejected("batch-not-arrived")]
        if not line.shipped:
            line.shipped = True
            body = {"orderid": command.orderid, "sku": command.sku, "lineid": command.lineid, "qty": line.qty}
            line.answer = body | {"batchref": line.batch.reference, "sequence": self._count(line)}
            line.answer_type = "shipped.v1"
        assert line.answer
        return [("shipped.v1", line.answer)]

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
        return [("batch-created.v1", announced), *self._serve(command.sku)]

    def _change(self, command: ChangeBatchQuantity) -> list[Answer]:
        batch = next((batch for batch in self.batches if batch.reference == command.batchref), None)
        if batch is None:
            return [rejected("unknown-batch")]
        if command.qty < sum(line.qty for line in self.lines if line.batch is batch and line.shipped):
            return [rejected("batch-shipped")]
        body = {"batchref": batch.reference, "sku": batch.sku, "qty": command.qty, "previous_qty": batch.qty}
        answers = [("batch-quantity-changed.v1", body | {"sequence": self._next(batch.sku)})]
        batch.qty = command.qty
        moved = []
        while self.available(batch) < 0:
            holding = [line for line in self.lines if line.batch is batch and not line.shipped]
            last = max(holding, key=lambda line: (line.until is not None, _place(line)))
            if last.until:
                last.batch = None
            else:
                answers.append(self._take_off(last, "batch-quantity-changed"))
            moved.append(last)
        for line in sorted(moved, key=lambda line: (line.until is not None, _place(line))):
            if line.until is None:
                answers.append(self._look_for_stock(line))
            elif takers := [other for other in self._for(line) if self.available(other) >= line.qty]:
                answers.append(self._take(line, takers[0]))
            else:
                answers.append(self._lapse(line, batch))
        return answers + self._serve(batch.sku)

    def _change_eta(self, command: ChangeBatchEta) -> list[Answer]:
        batch = next((batch for batch in self.batches if batch.reference == command.batchref), None)
        if batch is None:
            return [rejected("unknown-batch")]
        if batch.eta is None and command.eta is not None:
            return [rejected("batch-arrived")]
        changed = {
            "batchref": batch.reference,
            "sku": batch.sku,
            "eta": command.eta and command.eta.isoformat(),
            "previous_eta": batch.eta and batch.eta.isoformat(),
        }
        answers: list[Answer] = [("batch-eta-changed.v1", changed | {"sequence": self._next(batch.sku)})]
        if batch.eta == command.eta:
            return answers
        batch.eta = command.eta
        moved = []
        for line in sorted((line for line in self.lines if line.batch is batch), key=_place):
            if command.eta and line.needed_by and line.needed_by < command.eta:
                answers.append(self._take_off(line, "batch-eta-changed"))
                moved.append(line)
            else:
                orderid, _, lineid = line.key
                line.answer_type = "promise-changed.v1"
                line.answer = changed | {"orderid": orderid, "lineid": lineid, "qty": line.qty}
                line.answer["sequence"] = self._count(line)
                answers.append((line.answer_type, line.answer))
        answers += [self._look_for_stock(line) for line in moved]
        return answers + self._serve(batch.sku)

    def _serve(self, sku: str) -> list[Answer]:
        """What has just been freed goes to those that wait; it does no harm if nothing was freed."""
        waiting = [line for line in self.lines if line.waits and line.key[1] == sku]
        waiting.sort(key=lambda line: (-line.priority, _place(line)))
        return [
            self._look_for_stock(line)
            for line in waiting
            if any(self.available(batch) >= line.qty for batch in self._for(line))
        ]

    def _for(self, line: NaiveLine) -> list[NaiveBatch]:
        """The batches that the line may use, in order of preference."""
        stock = [batch for batch in self.batches if batch.sku == line.key[1] and self.available(batch) > 0]
        in_warehouse = [batch for batch in stock if batch.eta is None]
        at_sea = sorted((batch for batch in stock if batch.eta), key=lambda batch: str(batch.eta))
        return in_warehouse + [
            batch for batch in at_sea if batch.eta and (line.needed_by is None or batch.eta <= line.needed_by)
        ]

    def _look_for_stock(self, line: NaiveLine) -> Answer:
        batches = self._for(line)
        for batch in batches:
            if self.available(batch) >= line.qty:
                return self._take(line, batch)
        orderid, sku, lineid = line.key
        body = {"orderid": orderid, "sku": sku, "lineid": lineid, "qty": line.qty, "sequence": self._count(line)}
        most = max([self.available(batch) for batch in batches], default=0)
        counted = [batch for batch in batches if self.available(batch) == most][:1]
        etas = [batch.eta.isoformat() for batch in batches if batch not in counted and batch.eta]
        line.answer = body | {"largest_available": most, "next_eta": etas[0] if etas else None}
        line.answer_type = "backordered.v1" if line.waits else "out-of-stock.v1"
        return (line.answer_type, line.answer)

    def _take(self, line: NaiveLine, batch: NaiveBatch) -> Answer:
        orderid, sku, lineid = line.key
        body = {"orderid": orderid, "sku": sku, "lineid": lineid, "qty": line.qty, "sequence": self._count(line)}
        line.batch = batch
        line.answer = body | {"batchref": batch.reference, "eta": batch.eta and batch.eta.isoformat()}
        if line.until:
            line.answer["until"] = line.until.isoformat().replace("+00:00", "Z")
        line.answer_type = "held.v1" if line.until else "allocated.v1"
        return (line.answer_type, line.answer)

    def _take_off(self, line: NaiveLine, reason: str) -> Answer:
        orderid, sku, lineid = line.key
        batchref = line.batch and line.batch.reference
        line.batch = line.answer = None
        body = {"orderid": orderid, "sku": sku, "lineid": lineid, "qty": line.qty, "batchref": batchref}
        return ("deallocated.v1", body | {"reason": reason, "sequence": self._count(line)})

    def _line(self, orderid: str, sku: str, lineid: str) -> NaiveLine | None:
        return next((line for line in self.lines if line.key == (orderid, sku, lineid)), None)

    def _count(self, line: NaiveLine) -> int:
        sequence = self._next(line.key[1])
        if line.place is None:
            line.place = sequence
        return sequence

    def _next(self, sku: str) -> int:
        self.counters[sku] = self.counters.get(sku, 0) + 1
        return self.counters[sku]


def _place(line: NaiveLine) -> int:
    assert line.place is not None
    return line.place


def rejected(reason: str) -> Answer:
    return ("command-rejected.v1", {"reason": reason})
