"""The aggregate: a product with its batches of stock and the order lines that hold stock."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import NamedTuple

from allocation_worker.domain import answers, events
from allocation_worker.domain.errors import (
    BatchArrivedError,
    BatchExistsError,
    BatchNotArrivedError,
    BatchShippedError,
    LineCancelledError,
    LineNotAllocatedError,
    LineQuantityConflictError,
    LineShippedError,
    NotEnoughStockError,
    UnknownLineError,
    quoted,
)
from allocation_worker.domain.lines import PLAIN, Holding, LineId, OrderLine, Terms
from allocation_worker.domain.stock import Batch, Stock
from allocation_worker.domain.waiting import WaitingQueue

AT_A_TIME = 1000
"""Lines that are told or served before their events are passed on, so that they are not all kept in memory."""

FIRST_SERVED = 30
"""Lines of the queue that are looked at first: mostly a few get what was freed."""


class ToTell(NamedTuple):
    """Lines of a batch that have to be told that its ETA has changed.

    Attributes:
        batchref: The batch.
        previous_eta: Its ETA before.
        after: The place of the last line that was told, or taken off the batch.
    """

    batchref: str
    previous_eta: date | None
    after: int = 0


class Product:
    """A SKU: the consistency boundary, which also counts its own events.

    A product need not be loaded in full, so the cost of a command does not grow with the lines of a batch. `batches`
    must hold every batch with stock left, and every batch that a command or one of `lines` names. `lines` must hold an
    entry for each line that a command names; the entry is blank if the line was never seen.

    No line that waits fits a batch that it may use: whatever frees stock is followed by Unsettled, and that by
    `serve_waiting`. So an allocation needs not look at those that wait.

    Attributes:
        batches: The batches by reference.
        stock: The same batches, in order of preference.
        queue: What is known of the lines that wait.
        to_tell: The lines that have to be told of a new ETA; None if there are none.
        taken_off: The lines that were taken off a batch and look for stock again, the first asked last. Before them
            stand those for which it was only held.
    """

    def __init__(
        self, sku: str, *, sequence: int = 0, batches_arrived: int = 0, smallest_waiting: int | None = None
    ) -> None:
        self.sku = sku
        self.sequence = sequence
        self.batches_arrived = batches_arrived
        self.batches: dict[str, Batch] = {}
        self.stock = Stock()
        self.lines: dict[LineId, OrderLine] = {}
        self.queue = WaitingQueue(smallest_waiting)
        self.to_tell: ToTell | None = None
        self.taken_off: list[OrderLine] = []
        self.events: list[events.RaisedEvent] = []

    def bring_in(self, batch: Batch) -> None:
        """Add a batch that exists already, without an event."""
        self.batches[batch.reference] = batch
        self.stock.add(batch)

    @property
    def served_at_a_time(self) -> int:
        """How many lines of the queue `serve_waiting` looks at next."""
        return FIRST_SERVED if self.queue.served_up_to is None else AT_A_TIME

    def allocate(self, line_id: LineId, qty: int, terms: Terms = PLAIN) -> None:
        """Allocate the line to a batch, or record that no batch can take it.

        A line that holds `qty` already, or waits for it, is announced again unchanged. One that waits for less than it
        is asked for now takes a new place. A line for which stock is held keeps that batch, unless it comes too late.

        Raises:
            LineCancelledError: The line was cancelled before.
            LineShippedError: The line was shipped before.
            LineQuantityConflictError: The line holds another quantity.
        """
        line = self._line_to_order(line_id)
        if line.batchref is None:
            if line.waits:
                if terms.wait and line.qty == qty and line.answer:
                    self._announce(line)
                    return
                if qty > line.qty:
                    line.place = 0
            line.qty, line.terms = qty, terms
            self._look_for_stock(line)
        elif line.qty != qty:
            raise self._conflict(line, qty)
        elif line.hold is None:
            self._announce(line)
        else:
            self._confirm(line, terms)

    def _line_to_order(self, line_id: LineId) -> OrderLine:
        line = self.lines[line_id]
        if line.cancelled:
            raise LineCancelledError(f"Line {line.name} was cancelled; use another lineid to order again.")
        if line.shipped:
            raise LineShippedError(f"Line {line.name} was shipped; use another lineid to order again.")
        return line

    def _conflict(self, line: OrderLine, qty: int) -> LineQuantityConflictError:
        way_out = "hold that quantity first" if line.hold else "deallocate it and use another lineid"
        return LineQuantityConflictError(f"Line {line.name} holds {line.qty} already, not {qty}; {way_out}.")

    def _confirm(self, line: OrderLine, terms: Terms) -> None:
        batch = self._batch_of(line)
        line.hold, line.terms = None, terms
        if terms.allow(batch.eta):
            self._answer(line)
            self._announce(line)
        else:
            self._give_back(line)
            line.batchref = None
            self._look_for_stock(line)

    def hold(self, line_id: LineId, qty: int, hold: Holding) -> None:
        """Hold stock for the line, or record that no batch can take it.

        A line for which stock is held already is held until another time, and in another quantity: of its own batch if
        that has room, else of another one. The same again, or a line that was allocated, is announced again unchanged.

        Raises:
            LineCancelledError: The line was cancelled before.
            LineShippedError: The line was shipped before.
            LineQuantityConflictError: The line was allocated in another quantity.
            NotEnoughStockError: No batch can take the line in its new quantity; it is held as before.
        """
        line = self._line_to_order(line_id)
        if line.batchref is None:
            if line.waits and qty > line.qty:
                line.place = 0
            line.qty, line.terms = qty, PLAIN
            self._look_for_stock(line, hold)
        elif line.hold is None and line.qty != qty:
            raise self._conflict(line, qty)
        elif line.hold is None or (line.qty, line.hold.until) == (qty, hold.until):
            self._announce(line)
        else:
            batch = self._batch_for_quantity(line, qty)
            if batch is None:
                raise NotEnoughStockError(
                    f"Line {line.name} keeps {line.qty} until {_written(line.hold.until)}: no batch can take {qty}."
                )
            self._move(line, batch, qty)
            line.hold = hold
            self._answer(line)
            self._announce(line)

    def lapse_hold(self, line_id: LineId, message_id: str) -> None:
        """End the hold that this message asked for. Nothing happens if the line has none by now, or another one."""
        line = self.lines[line_id]
        if line.hold and line.hold.message_id == message_id:
            self._give_back(line)
            self._lapse(line)

    def deallocate(self, line_id: LineId) -> None:
        """Cancel the line and free its stock.

        Raises:
            LineShippedError: The line was shipped before.
        """
        line = self.lines[line_id]
        if line.shipped:
            raise LineShippedError(f"Line {line.name} was shipped, and cannot be cancelled; a return is a new batch.")
        line.cancelled = True
        line.hold = None
        self._free(line, "cancelled")

    def ship(self, line_id: LineId) -> None:
        """Ship the line. One that was shipped before is announced again.

        Raises:
            LineCancelledError: The line was cancelled before.
            LineNotAllocatedError: The line holds no stock.
            BatchNotArrivedError: Its batch is not in the warehouse.
        """
        line = self.lines[line_id]
        if line.shipped:
            self._announce(line)
            return
        if line.cancelled:
            raise LineCancelledError(f"Line {line.name} was cancelled, and must not be shipped.")
        if line.batchref is None:
            raise LineNotAllocatedError(f"Line {line.name} holds no stock; allocate it first.")
        if line.hold:
            raise LineNotAllocatedError(
                f"Stock is only held for line {line.name} until {_written(line.hold.until)}; allocate it first."
            )
        batch = self._batch_of(line)
        if batch.eta is not None:
            raise BatchNotArrivedError(
                f"Line {line.name} holds stock of batch {quoted(batch.reference)}, which arrives on {batch.eta}; "
                "once it is there, send change-batch-eta with null."
            )
        line.shipped = True
        batch.shipped_quantity += line.qty
        self._answer(line)
        self._announce(line)

    def change_line_quantity(self, line_id: LineId, qty: int, from_qty: int | None = None) -> None:
        """Set the quantity of a line. It stays with its batch if that has room, else it moves to another one.

        A line that waits, and is asked for in more, takes a new place.

        Raises:
            UnknownLineError: The line was never asked for.
            LineCancelledError: The line was cancelled before.
            LineShippedError: The line was shipped before.
            LineQuantityConflictError: The line has another quantity than `from_qty`.
            NotEnoughStockError: No batch can take it; nothing has changed.
        """
        line = self.lines[line_id]
        if line.cancelled:
            raise LineCancelledError(f"Line {line.name} was cancelled; use another lineid to order again.")
        if not line.place:
            raise UnknownLineError(f"Line {line.name} was never asked for; allocate it first.")
        if line.shipped:
            raise LineShippedError(f"Line {line.name} was shipped; use another lineid to order more.")
        if from_qty not in {None, line.qty}:
            raise LineQuantityConflictError(f"Line {line.name} has the quantity {line.qty} by now, not {from_qty}.")
        if qty == line.qty and (line.batchref or line.answer):
            self._announce(line)
            return
        batch = self._batch_for_quantity(line, qty)
        if batch is None and line.batchref is not None:
            raise NotEnoughStockError(
                f"Line {line.name} keeps {line.qty}: no batch can take {qty}; the rest may be a line of its own."
            )
        if line.waits and qty > line.qty:
            line.place = 0
        self._set_quantity(line, qty, batch)

    def _batch_for_quantity(self, line: OrderLine, qty: int) -> Batch | None:
        """Return the batch that can take the line in this quantity, its own one first.

        A line that is out of stock and does not wait gets none: it is for a later allocate to try.
        """
        if line.batchref is None:
            return self.stock.batch_for(qty, line.terms) if line.waits else None
        own = self._batch_of(line)
        return own if own.available_quantity + line.qty >= qty else self.stock.batch_for(qty, line.terms)

    def _set_quantity(self, line: OrderLine, qty: int, batch: Batch | None) -> None:
        previous = line.qty
        if batch is not None:
            self._move(line, batch, qty)
        else:
            line.qty = qty
            if line.waits:
                self.queue.join(qty)
        self._answer(line)
        line.answer = answers.quantity_changed(line, batch, previous)
        self._announce(line)

    def _move(self, line: OrderLine, batch: Batch, qty: int) -> None:
        """Give the line this quantity of the batch in exchange for what it has."""
        if line.batchref is not None:
            own = self._batch_of(line)
            own.allocated_quantity -= line.qty
            self.queue.stock_freed |= batch is not own or qty < line.qty
        batch.allocated_quantity += qty
        line.qty, line.batchref = qty, batch.reference

    def create_batch(self, reference: str, qty: int, eta: date | None) -> None:
        """Add a batch whose reference no other batch has."""
        self.batches_arrived += 1
        batch = Batch(
            reference=reference,
            sku=self.sku,
            purchased_quantity=qty,
            eta=eta,
            arrival=self.batches_arrived,
            created_qty=qty,
            created_eta=eta,
            sequence=self._count(),
        )
        self.bring_in(batch)
        self.queue.stock_freed = True
        self._announce_batch(batch)

    def announce_batch_again(self, reference: str, sku: str, qty: int, eta: date | None) -> None:
        """Announce a batch that exists as it was created, if it was created with this content.

        Raises:
            BatchExistsError: It was created with another SKU, quantity or ETA.
        """
        batch = self.batches[reference]
        if (batch.sku, batch.created_qty, batch.created_eta) != (sku, qty, eta):
            raise BatchExistsError(
                f"Batch {quoted(reference)} was created with {batch.created_qty} of SKU {quoted(batch.sku)}, "
                f"ETA {batch.created_eta or 'none'}; use another reference, or change-batch-quantity."
            )
        self._announce_batch(batch)

    def change_batch_quantity(self, reference: str, qty: int, last_asked_first: Iterator[OrderLine]) -> None:
        """Set the purchased quantity, and take lines off the batch until the others fit.

        Args:
            reference: The batch.
            qty: The purchased quantity from now on.
            last_asked_first: The lines that hold stock of the batch: first those for which it is only held, then those
                that were allocated. Both are in the order of their places, the last one first. Each line that is read
                loses its stock, and no more are read than needed. None of them was shipped.

        Raises:
            BatchShippedError: More than that has been shipped.
        """
        batch = self.batches[reference]
        if qty < batch.shipped_quantity:
            raise BatchShippedError(
                f"Of batch {quoted(reference)}, {batch.shipped_quantity} have been shipped; it cannot hold {qty}."
            )
        previous, batch.purchased_quantity = batch.purchased_quantity, qty
        self.queue.stock_freed |= qty > previous
        self.events.append(
            events.BatchQuantityChanged(
                batchref=reference, sku=self.sku, qty=qty, previous_qty=previous, sequence=self._count()
            )
        )
        while batch.available_quantity < 0:
            self._take_off(next(last_asked_first), "batch-quantity-changed")

    def change_batch_eta(self, reference: str, eta: date | None) -> None:
        """Set the ETA of a batch. Its lines are to be told, by `tell`.

        Raises:
            BatchArrivedError: The batch is in the warehouse already, and is to arrive on a day.
        """
        batch = self.batches[reference]
        previous = batch.eta
        if previous is None and eta is not None:
            raise BatchArrivedError(
                f"Batch {quoted(reference)} is in the warehouse already, and cannot arrive on {eta}; "
                "use change-batch-quantity if it holds less than it should."
            )
        self.events.append(
            events.BatchEtaChanged(
                batchref=reference, sku=self.sku, eta=eta, previous_eta=previous, sequence=self._count()
            )
        )
        if eta != previous:
            self.stock.change_eta(batch, eta)
            self.to_tell = ToTell(reference, previous)
            # A later day gives nobody anything; a line that leaves the batch for it does.
            self.queue.stock_freed |= eta is None or (previous is not None and eta < previous)

    def tell(self, lines: Sequence[OrderLine]) -> None:
        """Tell lines of a batch of its new ETA. Those for which it comes too late are taken off it.

        Args:
            lines: The next lines that `to_tell` is about, in the order of their places. They are the last ones if they
                are fewer than AT_A_TIME.
        """
        if self.to_tell is None:
            return
        batchref, previous, _ = self.to_tell
        batch = self.batches[batchref]
        for line in lines:
            if line.terms.allow(batch.eta):
                self.lines[line.id] = line
                self._answer(line)
                line.answer = answers.promise_changed(line, batch, previous)
                self._announce(line)
            else:
                self._take_off(line, "batch-eta-changed")
        if len(lines) < AT_A_TIME:
            self.to_tell = None
            self.taken_off.reverse()
        else:
            self.to_tell = ToTell(batchref, previous, after=lines[-1].place)

    def serve_taken_off(self) -> None:
        """Look for stock for lines that were taken off a batch, the first asked first; a thousand of them at most.

        Those for which it was only held come last.
        """
        for _ in range(min(AT_A_TIME, len(self.taken_off))):
            line = self.taken_off.pop()
            if line.hold:
                self._hold_elsewhere(line)
            else:
                self._look_for_stock(line)

    def serve_waiting(self, lines: Sequence[OrderLine]) -> None:
        """Allocate those of these lines that fit. The others keep their places.

        Args:
            lines: The next lines that wait, after `queue.served_up_to`, of the largest available quantity at most. They
                are the last ones if they are fewer than `served_at_a_time`.
        """
        # Lines of a larger quantity were not read.
        self.queue.pass_over(self.stock.largest_available + 1)
        for line in lines:
            if self.stock.batch_for(line.qty, line.terms):
                self.lines[line.id] = line
                self._look_for_stock(line)
            else:
                self.queue.pass_over(line.qty)
        if len(lines) < self.served_at_a_time:
            self.queue.end()
        else:
            self.queue.served_up_to = lines[-1].turn

    def take_events(self) -> list[events.RaisedEvent]:
        """Return the events since the last call. Unsettled is the last of them if there are lines to see to."""
        taken, self.events = self.events, []
        if self.to_tell or self.taken_off:
            taken.append(events.Unsettled(sku=self.sku))
        elif self.queue.stock_freed:
            if self.queue.may_fit(self.stock):
                taken.append(events.Unsettled(sku=self.sku))
            else:
                self.queue.rest()
        return taken

    def _take_off(self, line: OrderLine, reason: events.DeallocationReason) -> None:
        self.lines[line.id] = line
        if line.hold:
            self._give_back(line)
        else:
            self._free(line, reason)
        self.taken_off.append(line)

    def _look_for_stock(self, line: OrderLine, hold: Holding | None = None) -> None:
        self._answer(line)
        if batch := self.stock.batch_for(line.qty, line.terms):
            batch.allocated_quantity += line.qty
            line.batchref = batch.reference
            if hold is None:
                self.events.append(answers.allocated(line, batch))
            else:
                line.hold = hold
                self.events.append(answers.held(line, batch, hold.until))
        else:
            self._announce_shortage(line)

    def _hold_elsewhere(self, line: OrderLine) -> None:
        """Hold stock again for a line whose batch has lost it. If there is none, its hold lapses."""
        if self.stock.batch_for(line.qty, line.terms):
            self._look_for_stock(line, line.hold)
        else:
            self._lapse(line)

    def _lapse(self, line: OrderLine) -> None:
        """Make the line as if it had never been asked for. Only the sequence stays, of the event that says so."""
        self._answer(line)
        self.events.append(answers.hold_lapsed(line))
        line.batchref = None
        line.qty = line.place = 0
        line.hold = None

    def _give_back(self, line: OrderLine) -> None:
        self._batch_of(line).allocated_quantity -= line.qty
        self.queue.stock_freed = True

    def _free(self, line: OrderLine, reason: events.DeallocationReason) -> None:
        if line.batchref is not None:
            self._give_back(line)
        self._answer(line)
        self.events.append(answers.deallocated(line, reason))
        line.batchref = None

    def _announce(self, line: OrderLine) -> None:
        """Announce the last answer to the line."""
        self.events.append(line.answer or answers.as_it_stands(line, self._batch_of(line)))

    def _announce_shortage(self, line: OrderLine) -> None:
        event = answers.short_of_stock(line, self.stock.shortage(line.terms))
        if line.waits:
            line.answer = event
            self.queue.join(line.qty)
        self.events.append(event)

    def _announce_batch(self, batch: Batch) -> None:
        self.events.append(
            events.BatchCreated(
                batchref=batch.reference,
                sku=self.sku,
                qty=batch.created_qty,
                eta=batch.created_eta,
                sequence=batch.sequence,
            )
        )

    def _answer(self, line: OrderLine) -> None:
        self.sequence += 1
        line.sequence = self.sequence
        line.answer = None
        if not line.place:
            line.place = self.sequence

    def _count(self) -> int:
        self.sequence += 1
        return self.sequence

    def _batch_of(self, line: OrderLine) -> Batch:
        return self.batches[str(line.batchref)]


def _written(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
