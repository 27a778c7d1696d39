"""The aggregate: a product with its batches of stock and the order lines that hold stock."""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from allocation_worker.domain import events
from allocation_worker.domain.errors import BatchExistsError, LineCancelledError, LineQuantityConflictError, quoted

LineId = tuple[str, str]
"""(orderid, lineid). It identifies a line of one SKU."""


@dataclass(slots=True)
class OrderLine:
    """An order line.

    Attributes:
        batchref: The batch that `qty` was allocated from; None if the line holds no stock.
        sequence: The `sequence` of the last event about the line's own stock.
    """

    orderid: str
    lineid: str
    qty: int = 0
    batchref: str | None = None
    cancelled: bool = False
    sequence: int = 0


@dataclass(slots=True)
class Batch:
    """Stock that was purchased at one time.

    Attributes:
        arrival: The batch's number among those of its SKU, in the order of creation.
        created_qty: The quantity at creation. Together with `sequence` it allows to announce the batch again unchanged.
        sequence: The `sequence` of the event that announced the batch.
    """

    reference: str
    sku: str
    purchased_quantity: int
    eta: date | None
    arrival: int
    created_qty: int
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
        self.events: list[events.ProductEvent] = []
        self._by_preference: list[Batch] = []

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
            self._place(line)
        elif line.qty == qty:
            self._announce(line, line.batchref)
        else:
            raise LineQuantityConflictError(
                f"{self._name(line)} holds {line.qty} already, not {qty}; deallocate it and use another lineid."
            )

    def allocate_again(self, line_id: LineId) -> None:
        """Allocate a line that lost its stock, as if it were new."""
        self._place(self.lines[line_id])

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
        if (batch.sku, batch.created_qty, batch.eta) != (sku, qty, eta):
            raise BatchExistsError(
                f"Batch {quoted(reference)} was created with {batch.created_qty} of SKU {quoted(batch.sku)}, "
                f"ETA {batch.eta or 'none'}; use another reference, or change-batch-quantity."
            )
        self._announce_batch(batch)

    def change_batch_quantity(self, reference: str, qty: int, latest_lines: Iterator[OrderLine]) -> None:
        """Set the purchased quantity, and take lines off the batch until the others fit.

        Args:
            reference: The batch.
            qty: The purchased quantity from now on.
            latest_lines: The lines that hold stock of the batch, the most recently allocated first. Each line that is
                read loses its stock, and no more are read than needed.
        """
        batch = self.batches[reference]
        previous, batch.purchased_quantity = batch.purchased_quantity, qty
        self.events.append(
            events.BatchQuantityChanged(
                batchref=reference, sku=self.sku, qty=qty, previous_qty=previous, sequence=self._count()
            )
        )
        while batch.available_quantity < 0:
            self._take_off(next(latest_lines))

    def _take_off(self, line: OrderLine) -> None:
        self.lines[line.orderid, line.lineid] = line
        self._free(line, "batch-quantity-changed")

    def _place(self, line: OrderLine) -> None:
        qty = line.qty
        line.sequence = self._count()
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
        line.sequence = self._count()
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
                eta=batch.eta,
                sequence=batch.sequence,
            )
        )

    def _count(self) -> int:
        self.sequence += 1
        return self.sequence

    def _name(self, line: OrderLine) -> str:
        suffix = f", lineid {quoted(line.lineid)}" if line.lineid else ""
        return f"Line (order {quoted(line.orderid)}, SKU {quoted(self.sku)}{suffix})"
