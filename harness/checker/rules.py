"""A second implementation of the domain rules, from the wire contract alone. It checks each event after the others."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import allocation_contracts as contracts
from harness.checker.states import (
    PLACED,
    PLAIN,
    AskedFor,
    Backorder,
    BatchState,
    HoldState,
    LineKey,
    LineState,
    Place,
    PushedOff,
    ToTellAgain,
)

_TAKEN_OFF = frozenset({"batch-quantity-changed", "batch-eta-changed"})
NO_COMMAND: Mapping[str, Any] = {}


class Replay:
    """Applies the events of all SKUs, each once, and each SKU's in order of sequence.

    Args:
        fault: Called with a sentence for each violation of the rules.
    """

    def __init__(self, fault: Callable[[str], None]) -> None:
        self.batches: dict[str, BatchState] = {}
        self.lines: dict[LineKey, tuple[str, int]] = {}
        """The batch and the quantity that each line holds."""
        self.cancelled: set[LineKey] = set()
        self.shipped: set[LineKey] = set()
        self._fault = fault
        self._held_lines: set[LineKey] = set()
        self._holds: dict[LineKey, HoldState] = {}
        """How stock is held for the lines; some have been allocated since."""
        self._quantities: dict[LineKey, int] = {}
        """The quantity in the last event about each line."""
        self._pushed_off: defaultdict[str, list[PushedOff]] = defaultdict(list)
        """By SKU, the held lines that a shrink has taken off and that were not answered yet, the first asked last."""
        self._places: dict[LineKey, int] = {}
        self._terms: dict[LineKey, AskedFor] = {}
        self._waiting: defaultdict[str, dict[LineKey, Backorder]] = defaultdict(dict)
        self._to_tell: dict[str, ToTellAgain] = {}
        self._changed_while_waiting = False
        self._cause: dict[str, str] = {}
        self._taken_off: defaultdict[str, list[Place]] = defaultdict(list)
        """By SKU, the lines that a shrink has taken off and that were not answered yet, the first asked last."""
        self._of_sku: defaultdict[str, list[BatchState]] = defaultdict(list)
        self._rules: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            contracts.BatchCreated.TYPE: self._batch_created,
            contracts.BatchQuantityChanged.TYPE: self._quantity_changed,
            contracts.BatchEtaChanged.TYPE: self._eta_changed,
            contracts.PromiseChanged.TYPE: self._promise_changed,
            contracts.Shipped.TYPE: self._shipped,
            contracts.LineQuantityChanged.TYPE: self._line_quantity_changed,
            contracts.Held.TYPE: self._held,
            contracts.HoldLapsed.TYPE: self._hold_lapsed,
            contracts.Allocated.TYPE: self._allocated,
            contracts.Deallocated.TYPE: self._deallocated,
            contracts.OutOfStock.TYPE: self._out_of_stock,
            contracts.Backordered.TYPE: self._backordered,
        }

    def apply(
        self,
        type_: str,
        data: Mapping[str, Any],
        cause: str = "",
        command: Mapping[str, Any] = NO_COMMAND,
        timestamp: int | None = None,
    ) -> None:
        """Apply the next event.

        Args:
            type_: The type of the event.
            data: Its body.
            cause: The message_id of the command that caused it.
            command: The body of that command, with its type.
            timestamp: When the event was published, in seconds since the epoch.
        """
        if cause != self._cause.setdefault(data["sku"], cause):
            self._cause[data["sku"]] = cause
            self._check_queue(data["sku"])
        self._check_taken_off(type_, data)
        if "orderid" in data:
            self._hear(data, command)
        if type_ == contracts.HoldLapsed.TYPE and command.get("type") != contracts.ChangeBatchQuantity.TYPE:
            self._check_time_and_cause(data, cause, timestamp)
        if type_ == contracts.Held.TYPE and command.get("type") == contracts.Hold.TYPE:
            self._holds[_line(data)] = HoldState(data["until"], cause)
        self._rules[type_](data)
        if "orderid" in data:
            self._quantities[_line(data)] = data["qty"]

    def states(self) -> dict[LineKey, LineState]:
        """Return the lines that hold stock or wait for it."""
        waiting = (waiting for queue in self._waiting.values() for waiting in queue.values())
        return {line: LineState(self._status(line), *held) for line, held in self.lines.items()} | {
            each.line: LineState("waiting", None, each.qty) for each in waiting
        }

    def _status(self, line: LineKey) -> str:
        if line in self._held_lines:
            return "held"
        return "shipped" if line in self.shipped else "allocated"

    def end(self) -> None:
        """Check the final state, after the last event."""
        for reference, batch in self.batches.items():
            if batch.allocated > batch.purchased:
                self._fault(f"Batch {reference} is oversold: {batch.allocated} of {batch.purchased}.")
        for sku in self._of_sku:
            self._check_queue(sku)
        for _place, line in (place for places in self._taken_off.values() for place in places):
            self._fault(f"Line {line} was taken off its batch, and not answered.")

    def _check_taken_off(self, type_: str, data: Mapping[str, Any]) -> None:
        """Check that lines that were taken off are answered before anything else, the first asked first."""
        waiting = self._taken_off[data["sku"]]
        if not waiting or type_ == contracts.PromiseChanged.TYPE or data.get("reason") in _TAKEN_OFF:
            return
        place = waiting.pop()
        if type_ not in PLACED or _line(data) != place[1]:
            self._fault(
                f"Line {place[1]} was taken off its batch, and {type_} {data['sequence']} came before its answer."
            )
            waiting.clear()

    def _hear(self, data: Mapping[str, Any], command: Mapping[str, Any]) -> None:
        """Take note of a line's place and terms. A line that waits is taken from the queue: it has an answer."""
        line = _line(data)
        if line in self.shipped:
            self._fault(f"Line {line} was shipped, and there is event {data['sequence']} about it.")
        if line in self.cancelled and data.get("reason") != "cancelled":
            self._fault(f"Line {line} was cancelled, and there is event {data['sequence']} about it.")
        self._places.setdefault(line, data["sequence"])
        queue = self._waiting[line[1]]
        waiting = queue.pop(line, None)
        asked = "qty" in command and (command.get("orderid"), command.get("lineid") or "") == (line[0], line[2])
        if waiting and not asked and data.get("reason") != "cancelled":
            self._check_turn(waiting, queue.values())
        if asked:
            if waiting and command["qty"] > waiting.qty:
                self._places[line] = data["sequence"]
            if command.get("type") == contracts.Allocate.TYPE:
                self._terms[line] = AskedFor(
                    command.get("priority") or 0, command.get("needed_by"), bool(command.get("wait"))
                )
            if command.get("type") == contracts.Hold.TYPE:
                self._terms[line] = PLAIN
            if command.get("type") == contracts.ChangeLineQuantity.TYPE:
                self._changed_while_waiting = waiting is not None
                if command.get("from_qty") not in {None, data.get("previous_qty")}:
                    self._fault(f"Line {line} was changed, and did not have the quantity {command['from_qty']}.")

    def _out_of_stock(self, data: Mapping[str, Any]) -> None:
        if self._asked_for(_line(data)).wait:
            self._fault(f"Line {_line(data)} is out of stock, and was to wait.")
        self._short_of_stock(data)

    def _backordered(self, data: Mapping[str, Any]) -> None:
        if not self._asked_for(_line(data)).wait:
            self._fault(f"Line {_line(data)} waits, and was not asked to.")
        self._short_of_stock(data)
        self._wait(data)

    def _wait(self, data: Mapping[str, Any]) -> None:
        line = _line(data)
        terms = self._asked_for(line)
        turn = (-terms.priority, self._places[line])
        self._waiting[line[1]][line] = Backorder(turn, line, data["qty"], terms.needed_by)

    def _check_turn(self, served: Backorder, others: Iterable[Backorder]) -> None:
        """Check that no line that fits was to be served before this one."""
        for other in others:
            if other.turn < served.turn and self._best(other.line[1], other.qty, other.needed_by):
                self._fault(f"Line {served.line} was served before {other.line}, whose turn it was.")

    def _check_queue(self, sku: str) -> None:
        """Check that no line that waits fits, now that a command is over."""
        if (to_tell := self._to_tell.pop(sku, None)) and to_tell.lines:
            self._fault(f"{len(to_tell.lines)} lines of SKU {sku} were not told of a new ETA.")
        for pushed_off in self._pushed_off.pop(sku, ()):
            self._fault(f"Line {pushed_off.line} lost the stock that was held for it, and was not told.")
        queue = self._waiting.get(sku)
        largest = max((batch.available for batch in self._of_sku[sku]), default=0)
        if not queue or largest < min(each.qty for each in queue.values()):
            return
        for each in queue.values():
            if batch := self._best(sku, each.qty, each.needed_by):
                self._fault(f"Line {each.line} waits for {each.qty}, and a batch has {batch.available}.")

    def _batch_created(self, data: Mapping[str, Any]) -> None:
        reference = data["batchref"]
        if reference in self.batches:
            self._fault(f"Batch {reference} was created twice.")
            return
        batch = BatchState(
            data["sku"],
            data["qty"],
            arrival=len(self._of_sku[data["sku"]]),
            eta=data["eta"],
            created=(data["sku"], data["qty"], data["eta"]),
        )
        self.batches[reference] = batch
        self._of_sku[batch.sku].append(batch)
        self._of_sku[batch.sku].sort(key=lambda known: known.preference)

    def _quantity_changed(self, data: Mapping[str, Any]) -> None:
        batch = self.batches.get(data["batchref"])
        if batch is None:
            self._fault(f"Batch {data['batchref']} was changed and never created.")
            return
        if batch.purchased != data["previous_qty"]:
            self._fault(f"Batch {data['batchref']} had {batch.purchased}, not {data['previous_qty']}.")
        batch.purchased = data["qty"]
        if batch.shipped > batch.purchased:
            self._fault(f"Of batch {data['batchref']}, {batch.shipped} were shipped, and it is to hold {data['qty']}.")
        while batch.available < 0 and batch.held:
            line = batch.held[-1][1]
            held = self.lines[line]
            self._take_back(line)
            self._pushed_off[batch.sku].append(PushedOff(line, held))

    def _line_quantity_changed(self, data: Mapping[str, Any]) -> None:
        line = _line(data)
        held = self.lines.pop(line, None)
        own = None
        if held:
            own = self.batches[held[0]]
            self._strike_off(own, line)
            own.allocated -= held[1]
            if data["batchref"] is None:
                self._fault(f"Line {line} held {held}, and lost it by a change of its quantity.")
        if self._quantities.get(line) != data["previous_qty"]:
            self._fault(f"Line {line} had {self._quantities.get(line)}, and was changed from {data['previous_qty']}.")
        if data["batchref"] is None:
            if self._changed_while_waiting:
                self._wait(data)
            return
        best = self._best(data["sku"], data["qty"], self._asked_for(line).needed_by)
        if self.batches.get(data["batchref"]) is not (own if own and own.available >= data["qty"] else best):
            self._fault(f"Line {line} got stock of batch {data['batchref']}, which was not its turn.")
        self._give(line, data)

    def _held(self, data: Mapping[str, Any]) -> None:
        line = _line(data)
        self._was_pushed_off(line)
        own = self._take_back(line)
        due = own if own and own.available >= data["qty"] else self._best(data["sku"], data["qty"], None)
        if self.batches.get(data["batchref"]) is not due:
            self._fault(f"Stock of batch {data['batchref']} is held for line {line}, which was not its turn.")
        self._held_lines.add(line)
        self._give(line, data)

    def _hold_lapsed(self, data: Mapping[str, Any]) -> None:
        line = _line(data)
        held = self._was_pushed_off(line)
        if held and self._best(data["sku"], data["qty"], None):
            self._fault(f"The hold of line {line} lapsed, and another batch had enough.")
        elif line in self._held_lines:
            held = self.lines[line]
        if held != (data["batchref"], data["qty"]):
            self._fault(f"Line {line} holds {held}, and a hold of {data['qty']} of {data['batchref']} lapsed.")
        self._take_back(line)
        self._places.pop(line, None)
        self._terms.pop(line, None)

    def _check_time_and_cause(self, data: Mapping[str, Any], cause: str, timestamp: int | None) -> None:
        """Check that a hold has not lapsed before its time, and that its end names the message that asked for it."""
        hold = self._holds.get(_line(data))
        if hold is None:
            return
        if hold.cause != cause:
            self._fault(f"The hold of line {_line(data)} was asked for by {hold.cause}, and its end names {cause}.")
        if timestamp is not None and timestamp < int(datetime.fromisoformat(hold.until).timestamp()):
            self._fault(f"The hold of line {_line(data)} was until {hold.until}, and lapsed by {timestamp}.")

    def _was_pushed_off(self, line: LineKey) -> tuple[str, int] | None:
        """Return what was held for a line until its batch shrank, and strike it off those that have to be answered."""
        waiting = self._pushed_off[line[1]]
        if not waiting:
            return None
        due = waiting.pop()
        if due.line != line:
            self._fault(f"Line {line} was answered before {due.line}, which lost its held stock.")
        return due.held

    def _take_back(self, line: LineKey) -> BatchState | None:
        """Take the stock back that is only held for a line, if any is. Return its batch."""
        if line not in self._held_lines:
            return None
        batchref, qty = self.lines.pop(line)
        batch = self.batches[batchref]
        self._strike_off(batch, line)
        self._held_lines.discard(line)
        batch.allocated -= qty
        return batch

    def _strike_off(self, batch: BatchState, line: LineKey) -> None:
        places = batch.held if line in self._held_lines else batch.lines
        places.pop(bisect_left(places, self._place(line)))

    def _shipped(self, data: Mapping[str, Any]) -> None:
        line = _line(data)
        batch = self.batches.get(data["batchref"])
        if batch is None or self.lines.get(line) != (data["batchref"], data["qty"]):
            self._fault(f"Line {line} holds {self.lines.get(line)}, and was shipped of batch {data['batchref']}.")
            return
        if line in self._held_lines:
            self._fault(f"Line {line} was shipped, and its stock was only held.")
            return
        if batch.eta:
            self._fault(f"Line {line} was shipped of batch {data['batchref']}, which arrives on {batch.eta}.")
        batch.shipped += data["qty"]
        batch.lines.pop(bisect_left(batch.lines, self._place(line)))
        self.shipped.add(line)

    def _eta_changed(self, data: Mapping[str, Any]) -> None:
        batch = self.batches.get(data["batchref"])
        if batch is None:
            self._fault(f"The ETA of batch {data['batchref']} was changed, and it was never created.")
            return
        if batch.eta != data["previous_eta"]:
            self._fault(f"Batch {data['batchref']} had the ETA {batch.eta}, not {data['previous_eta']}.")
        if batch.eta is None and data["eta"]:
            self._fault(f"Batch {data['batchref']} had arrived, and is to arrive on {data['eta']}.")
        if batch.eta != data["eta"]:
            self._to_tell[batch.sku] = ToTellAgain(batch.eta, sorted([*batch.lines, *batch.held]))
        batch.eta = data["eta"]
        self._of_sku[batch.sku].sort(key=lambda known: known.preference)

    def _promise_changed(self, data: Mapping[str, Any]) -> None:
        line = _line(data)
        batch = self.batches.get(data["batchref"])
        if batch is None or self.lines.get(line) != (data["batchref"], data["qty"]):
            self._fault(f"Line {line} holds {self.lines.get(line)}, and was told of batch {data['batchref']}.")
            return
        told, true = (data["previous_eta"], data["eta"]), (self._was_told(line), batch.eta)
        if told != true:
            self._fault(f"Line {line} was told {told} of the ETA before and after, where it is {true}.")
        if not batch.serves(self._asked_for(line).needed_by):
            self._fault(f"Line {line} stays with batch {data['batchref']}, which comes too late.")

    def _was_told(self, line: LineKey) -> str | None:
        """Return the ETA before the change, and strike the line off those that have to be told."""
        to_tell = self._to_tell.get(line[1])
        if to_tell is None or not to_tell.lines:
            return "no change"
        place = to_tell.lines.pop(0)
        if place[1] != line:
            self._fault(f"Line {line} was told of a new ETA before {place[1]}, which asked first.")
        return to_tell.previous_eta

    def _allocated(self, data: Mapping[str, Any]) -> None:
        line = _line(data)
        batch = self.batches.get(data["batchref"])
        if batch is None:
            self._fault(f"Line {line} was allocated to batch {data['batchref']}, which was never created.")
            return
        needed_by = self._asked_for(line).needed_by
        own = self._take_back(line)
        if own and own.serves(needed_by):
            if batch is not own:
                self._fault(f"Line {line} was allocated to {data['batchref']}, and another batch was held for it.")
            self._give(line, data)
            return
        if line in self.lines:
            self._fault(f"Line {line} was allocated while it held stock of {self.lines[line][0]}.")
        if batch is not self._best(data["sku"], data["qty"], needed_by):
            self._fault(f"Line {line} got stock of batch {data['batchref']}, which was not its turn.")
        self._give(line, data)

    def _give(self, line: LineKey, data: Mapping[str, Any]) -> None:
        batch = self.batches.get(data["batchref"])
        if batch is None:
            return
        self.lines[line] = (data["batchref"], data["qty"])
        if data["eta"] != batch.eta:
            self._fault(f"Line {line} was told that batch {data['batchref']} comes on {data['eta']}, not {batch.eta}.")
        insort(batch.held if line in self._held_lines else batch.lines, self._place(line))
        batch.allocated += data["qty"]
        if batch.allocated > batch.purchased or batch.sku != data["sku"]:
            self._fault(f"Batch {data['batchref']} was oversold by {line}: {batch.allocated} of {batch.purchased}.")

    def _deallocated(self, data: Mapping[str, Any]) -> None:
        line = _line(data)
        if data["reason"] == "cancelled":
            self.cancelled.add(line)
        held = self.lines.pop(line, None)
        freed = None if data["batchref"] is None else (data["batchref"], data["qty"])
        if held != freed:
            self._fault(f"Line {line} held {held}, and {freed} was taken off it.")
        if held is None:
            return
        batch = self.batches[held[0]]
        if data["reason"] == "batch-eta-changed":
            self._was_told(line)
            if batch.serves(self._asked_for(line).needed_by):
                self._fault(f"Line {line} was taken off batch {held[0]}, which comes in time.")
            self._taken_off[line[1]].insert(0, self._place(line))
        elif data["reason"] == "batch-quantity-changed":
            if batch.allocated <= batch.purchased:
                self._fault(f"Line {line} was taken off batch {held[0]}, which had enough.")
            if batch.held or not batch.lines or line != batch.lines[-1][1]:
                self._fault(f"Line {line} was taken off batch {held[0]} before one that asked later.")
            self._taken_off[line[1]].append(self._place(line))
        if line not in self.shipped:
            self._strike_off(batch, line)
        self._held_lines.discard(line)
        batch.allocated -= held[1]

    def _short_of_stock(self, data: Mapping[str, Any]) -> None:
        line = _line(data)
        needed_by = self._asked_for(line).needed_by
        self._take_back(line)
        if self._best(data["sku"], data["qty"], needed_by):
            self._fault(f"Line {line} is out of stock, and a batch could take it.")
        available = [batch for batch in self._of_sku[data["sku"]] if batch.available > 0 and batch.serves(needed_by)]
        told = (data["largest_available"], data["next_eta"])
        # Of several that are as large, the first counts as the largest. The others keep their order, which is by ETA.
        largest = max(available, key=lambda batch: batch.available, default=None)
        true = (
            largest.available if largest else 0,
            next((batch.eta for batch in available if batch.eta and batch is not largest), None),
        )
        if told != true:
            self._fault(f"Line {line} was told {told} of the largest batch and the next ETA, where it is {true}.")

    def _asked_for(self, line: LineKey) -> AskedFor:
        return self._terms.get(line, PLAIN)

    def _place(self, line: LineKey) -> Place:
        return self._places[line], line

    def _best(self, sku: str, qty: int, needed_by: str | None) -> BatchState | None:
        batches = self._of_sku[sku]
        return next((batch for batch in batches if batch.available >= qty and batch.serves(needed_by)), None)


def _line(data: Mapping[str, Any]) -> LineKey:
    return data["orderid"], data["sku"], data["lineid"]
