"""The aggregate: a product with its batches of stock and the order lines that hold stock."""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from allocation_worker.domain import events
from allocation_worker.domain.errors import BatchExistsError, LineCancelledError, LineQuantityConflictError, quoted

SERVED_AT_A_TIME = 1000
"""Lines that are served before their events are passed on, so that they are not all kept in memory."""

LineId = tuple[str, str]
"""(orderid, lineid). It identifies a line of one SKU."""


@dataclass(slots=True)
class OrderLine:
    """An order line.

    Attributes:
        batchref: The batch that `qty` was allocated from; None if the line holds no stock.
        sequence: The `sequence` of the last event about the line's own stock.
        place: The `sequence` of the first such event. It says who asked first.
    """

    orderid: str
    lineid: str
    qty: int = 0
    batchref: str | None = None
    cancelled: bool = False
    sequence: int = 0
    place: int = 0


@dataclass(slots=True)
class Batch:
    """Stock that was purchased at one time.

    Attributes:
        arrival: The batch's number among those of its SKU, in the order of creation.
        created_qty: The quantity at creation. With `created_eta` and `sequence` the batch can be announced again
            unchanged.
        created_eta: The ETA at creation.
        sequence: The `sequence` of the event that announced the batch.
    """

    reference: str
    sku: str
    purchased_quantity: int
    eta: date | None
    arrival: int
    created_qty: int
    created_eta: date | None
    sequence: int
    allocated_quantity: int = 0

    @property
    def available_quantity(self) -> int:
        return self.purchased_quantity - self.allocated_quantity

    def preference(self) -> tuple[bool, date, int]:
        """Return the sort key: batches in the warehouse first, then the earliest ETA, then the order of creation."""
        return (self.eta is not None, self.eta or date.min, self.arrival)


class Product:
    """A SKU: the consistency boundary, which also counts its own events.

    A product need not be loaded in full, so the cost of a command does not grow with the lines of a batch. `batches`
    must hold every batch with stock left, and every batch that a command or one of `lines` names. `lines` must hold an
    entry for each line that a command names; the entry is blank if the line was never seen.
    """

    def __init__(self, sku: str, *, sequence: int = 0, batches_arrived: int = 0) -> None:
        self.sku = sku
        self.sequence = sequence
        self.batches_arrived = batches_arrived
        self.batches: dict[str, Batch] = {}
        self.lines: dict[LineId, OrderLine] = {}
        self.events: list[events.RaisedEvent] = []
        self._by_preference: list[Batch] = []
        self._taken_off: list[OrderLine] = []

    def bring_in(self, batch: Batch) -> None:
        """Add a batch that exists already, without an event."""
        self.batches[batch.reference] = batch
        insort(self._by_preference, batch, key=Batch.preference)

    def allocate(self, line_id: LineId, qty: int) -> None:
        """Allocate the line to a batch, or record that no batch can take it.

        A line that holds `qty` already is announced again unchanged.

        Raises:
            LineCancelledError: The line was cancelled before.
            LineQuantityConflictError: The line holds another quantity.
        """
        line = self.lines[line_id]
        if line.cancelled:
            raise LineCancelledError(f"{self._name(line)} was cancelled; use another lineid to order again.")
        if line.batchref is None:
            line.qty = qty
            self._look_for_stock(line)
        elif line.qty == qty:
            self._announce(line, line.batchref)
        else:
            raise LineQuantityConflictError(
                f"{self._name(line)} holds {line.qty} already, not {qty}; deallocate it and use another lineid."
            )

    def deallocate(self, line_id: LineId) -> None:
        """Cancel the line and free its stock."""
        line = self.lines[line_id]
        line.cancelled = True
        self._free(line, "cancelled")

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
        """Set the purchased quantity, and take lines off the batch until the others fit. `serve` is for these lines.

        Args:
            reference: The batch.
            qty: The purchased quantity from now on.
            last_asked_first: The lines that hold stock of the batch, in the order of their places, the last one first.
                Each line that is read loses its stock, and no more are read than needed.
        """
        batch = self.batches[reference]
        previous, batch.purchased_quantity = batch.purchased_quantity, qty
        self.events.append(
            events.BatchQuantityChanged(
                batchref=reference, sku=self.sku, qty=qty, previous_qty=previous, sequence=self._count()
            )
        )
        while batch.available_quantity < 0:
            self._take_off(next(last_asked_first))

    def serve(self) -> None:
        """Look for stock for lines that were taken off a batch, the first asked first, a thousand of them at most."""
        # Taken off from the last one on.
        for _ in range(min(SERVED_AT_A_TIME, len(self._taken_off))):
            self._look_for_stock(self._taken_off.pop())

    def take_events(self) -> list[events.RaisedEvent]:
        """Return the events since the last call. StockFreed is the last of them if there are lines to serve."""
        taken, self.events = self.events, []
        if self._taken_off:
            taken.append(events.StockFreed(sku=self.sku))
        return taken

    def _take_off(self, line: OrderLine) -> None:
        self.lines[line.orderid, line.lineid] = line
        self._free(line, "batch-quantity-changed")
        self._taken_off.append(line)

    def _look_for_stock(self, line: OrderLine) -> None:
        qty = line.qty
        self._answer(line)
        for batch in self._by_preference:
            # Not `available_quantity`: a property costs a call, and this is the innermost loop.
            if batch.purchased_quantity - batch.allocated_quantity >= qty:
                batch.allocated_quantity += qty
                line.batchref = batch.reference
                self._announce(line, batch.reference)
                return
        self._announce_shortage(line)

    def _free(self, line: OrderLine, reason: events.DeallocationReason) -> None:
        batchref, line.batchref = line.batchref, None
        if batchref is not None:
            self.batches[batchref].allocated_quantity -= line.qty
        self._answer(line)
        self.events.append(
            events.Deallocated(
                orderid=line.orderid,
                sku=self.sku,
                lineid=line.lineid,
                qty=line.qty,
                batchref=batchref,
                reason=reason,
                sequence=line.sequence,
            )
        )

    def _announce(self, line: OrderLine, batchref: str) -> None:
        self.events.append(
            events.Allocated(
                orderid=line.orderid,
                sku=self.sku,
                lineid=line.lineid,
                qty=line.qty,
                batchref=batchref,
                eta=self.batches[batchref].eta,
                sequence=line.sequence,
            )
        )

    def _announce_shortage(self, line: OrderLine) -> None:
        in_stock = [batch for batch in self._by_preference if batch.available_quantity > 0]
        largest = max(in_stock, key=lambda batch: batch.available_quantity, default=None)
        self.events.append(
            events.OutOfStock(
                orderid=line.orderid,
                sku=self.sku,
                lineid=line.lineid,
                qty=line.qty,
                largest_available=largest.available_quantity if largest else 0,
                next_eta=next((batch.eta for batch in in_stock if batch.eta and batch is not largest), None),
                sequence=line.sequence,
            )
        )

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
        if not line.place:
            line.place = self.sequence

    def _count(self) -> int:
        self.sequence += 1
        return self.sequence

    def _name(self, line: OrderLine) -> str:
        suffix = f", lineid {quoted(line.lineid)}" if line.lineid else ""
        return f"Line (order {quoted(line.orderid)}, SKU {quoted(self.sku)}{suffix})"
