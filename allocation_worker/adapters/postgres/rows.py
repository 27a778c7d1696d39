"""Translate between table rows and domain objects, and write the objects that have changed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres import statements
from allocation_worker.adapters.postgres.writer import ROWS_AT_A_TIME, Values, Writer
from allocation_worker.domain.events import ProductEvent
from allocation_worker.domain.lines import PLAIN, Holding, LineId, OrderLine, Terms
from allocation_worker.domain.model import Product
from allocation_worker.domain.stock import Batch
from allocation_worker.service_layer.ports import StoreContentionError

LineKey = tuple[str, LineId]
"""(sku, (orderid, lineid))."""

BLANK_LINE: Values = (0, None, False, 0, 0, PLAIN, False, None, None)


def line_uuid(key: LineKey) -> str:
    """Return the primary key of a line's row, 32 hexadecimal digits. The parts contain no control characters."""
    sku, (orderid, lineid) = key
    return blake2b(f"{orderid}\0{sku}\0{lineid}".encode(), digest_size=16).hexdigest()


class Stream(NamedTuple):
    """The event stream of a product, as its row holds it.

    Attributes:
        namespace: A uuid of 16 bytes, from which the ids of the events follow.
        last: The sequence of the last event that was committed.
    """

    namespace: bytes
    last: int


class Rows:
    """Remembers each row as it was read, and writes those that have changed since."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._products: dict[str, Values] = {}
        self._smallest_waiting: dict[str, int | None] = {}
        self._batches: dict[str, Values] = {}
        self._lines: dict[LineKey, Values] = {}
        self._line_uuids: dict[LineKey, str] = {}

    def product(self, sku: str, sequence: int, batches_arrived: int, smallest_waiting: int | None) -> Product:
        self._products[sku] = (sequence, batches_arrived)
        self._smallest_waiting[sku] = smallest_waiting
        return Product(sku, sequence=sequence, batches_arrived=batches_arrived, smallest_waiting=smallest_waiting)

    def batch(self, row: Sequence[Any]) -> Batch:
        # Unpacked in one statement: hundreds of these are read for each group.
        reference, sku, purchased, eta, arrival, created_qty, created_eta, sequence, allocated, shipped = row
        self._batches[reference] = (purchased, allocated, eta, shipped)
        return Batch(reference, sku, purchased, eta, arrival, created_qty, created_eta, sequence, allocated, shipped)

    def line(self, product: Product, row: Sequence[Any]) -> OrderLine:
        """Return the line of this row: the one that the product holds, or a new one that it does not hold yet.

        Raises:
            StoreContentionError: The line was taken for new, and is not.
        """
        # Unpacked in one statement: a queue may have a hundred thousand of these.
        orderid, _, lineid, qty, batchref, cancelled, sequence, place, *terms, shipped, until, held_by, answer = row
        line_id = (orderid, lineid)
        line = product.lines.get(line_id)
        if line is None:
            line = OrderLine(
                product.sku,
                orderid,
                lineid,
                qty,
                batchref,
                cancelled,
                sequence,
                place,
                PLAIN if terms[0] is None else Terms(*terms),
                bool(shipped),
                _read_answer(answer, sequence) if answer else None,
                # A program that does not know holds may have taken the stock away.
                None if until is None or batchref is None else _read_hold(until, held_by),
            )
            self._lines[product.sku, line_id] = _line_values(line)
        elif (product.sku, line_id) not in self._lines:
            raise StoreContentionError(f"A line of order {orderid!r} was taken for new, and is not.")
        return line

    def forget(self, product: Product, lines: Iterable[OrderLine]) -> None:
        """Keep these lines no longer in memory. They must have been written."""
        for line in lines:
            product.lines.pop(line.id, None)
            self._lines.pop((line.sku, line.id), None)

    def has_line(self, key: LineKey) -> bool:
        """Return whether the line was there before this transaction, or is written by now."""
        return key in self._lines

    def line_uuid(self, key: LineKey) -> str:
        """Return the same as the function, and keep it until the line is written."""
        known = self._line_uuids.get(key)
        if known is None:
            known = self._line_uuids[key] = line_uuid(key)
        return known

    def _take_line_uuid(self, key: LineKey) -> str:
        return self._line_uuids.pop(key, None) or line_uuid(key)

    def flush(self, products: Collection[Product], streams: Mapping[str, Stream]) -> None:
        """Write everything in the order that foreign keys require."""
        self._flush_products(products, streams)
        self._flush_batches(products)
        self.flush_lines(line for product in products for line in product.lines.values())

    def flush_lines(self, lines: Iterable[OrderLine]) -> None:
        """Write only these lines, before a query over lines. Batches may be overdrawn at this point."""
        new: list[Values] = []
        special: list[Values] = []
        changed: list[Values] = []
        for line in lines:
            key = (line.sku, line.id)
            values = _line_values(line)
            known = self._lines.get(key)
            if values == (known or BLANK_LINE):
                continue
            if known is not None:
                changed.append((self._take_line_uuid(key), *_columns(line)))
            elif line.terms is PLAIN and line.place == line.sequence and line.hold is None:
                new.append((self._take_line_uuid(key), line.orderid, line.sku, line.lineid, *values[:4]))
            else:
                # PostgreSQL takes the word `now` for the time of the transaction.
                since = "now" if line.waits else None
                id_ = self._take_line_uuid(key)
                special.append((id_, line.orderid, line.sku, line.lineid, *_columns(line), since))
            self._lines[key] = values
            if len(changed) == ROWS_AT_A_TIME:  # a batch may have lost a hundred thousand
                self._writer.add(statements.UPDATE_LINES, changed)
                changed = []
        self._writer.add(statements.INSERT_LINES, new)
        self._writer.add(statements.INSERT_SPECIAL_LINES, special)
        self._writer.add(statements.UPDATE_LINES, changed)

    def _flush_products(self, products: Iterable[Product], streams: Mapping[str, Stream]) -> None:
        new: list[Values] = []
        changed: list[Values] = []
        for product in products:
            values = _product_values(product)
            known = self._products.get(product.sku)
            if known is None:
                new.append((product.sku, streams[product.sku].namespace.hex(), *values))
            elif known != values:
                changed.append((product.sku, *values))
        # In SKU order, so that two transactions with the same new products never wait for each other.
        self._writer.add(statements.INSERT_PRODUCTS, sorted(new))
        self._writer.add(statements.UPDATE_PRODUCTS, changed)
        self._writer.add(
            statements.UPDATE_SMALLEST_WAITING,
            [
                (product.sku, product.queue.smallest)
                for product in products
                if product.queue.smallest != self._smallest_waiting.get(product.sku)
            ],
        )

    def _flush_batches(self, products: Iterable[Product]) -> None:
        new: list[Values] = []
        changed: list[Values] = []
        new_etas: list[Values] = []
        shipped: list[Values] = []
        for batch in (batch for product in products for batch in product.batches.values()):
            values = _batch_values(batch)
            known = self._batches.get(batch.reference)
            if known is None:
                known = (*values[:2], batch.created_eta, 0)
                new.append(
                    (
                        batch.reference,
                        batch.sku,
                        *values[:2],
                        batch.created_eta,
                        batch.arrival,
                        batch.created_qty,
                        batch.sequence,
                    )
                )
            if values == known:
                continue
            if values[:2] != known[:2]:
                changed.append((batch.reference, *values[:2]))
            if batch.eta != known[2]:
                new_etas.append((batch.reference, batch.eta, batch.created_eta))
            if batch.shipped_quantity != known[3]:
                shipped.append((batch.reference, batch.shipped_quantity))
        self._writer.add(statements.INSERT_BATCHES, new)
        self._writer.add(statements.UPDATE_BATCHES, changed)
        self._writer.add(statements.UPDATE_ETAS, new_etas)
        self._writer.add(statements.UPDATE_SHIPPED, shipped)


def _product_values(product: Product) -> Values:
    return (product.sequence, product.batches_arrived)


def _batch_values(batch: Batch) -> Values:
    return (batch.purchased_quantity, batch.allocated_quantity, batch.eta, batch.shipped_quantity)


def _line_values(line: OrderLine) -> Values:
    return (
        line.qty,
        line.batchref,
        line.cancelled,
        line.sequence,
        line.place,
        line.terms,
        line.shipped,
        line.answer,
        line.hold,
    )


def _columns(line: OrderLine) -> Values:
    """Return all columns of a line but those that identify it."""
    place = None if line.place == line.sequence else line.place
    terms = (None, None, None) if line.terms is PLAIN else line.terms
    answer = line.answer and _write_answer(line.answer)
    hold = (line.hold.until.isoformat(), _write_cause(line.hold)) if line.hold else (None, None)
    return (
        line.qty,
        line.batchref,
        line.cancelled,
        line.sequence,
        place,
        *terms,
        line.shipped or None,
        answer,
        *hold,
    )


def _read_hold(until: datetime, cause: str) -> Holding:
    """Return the hold of the columns `held_until`, read in UTC, and `held_by`.

    The time zone of a session could move the first of all times out of the years that Python knows.
    """
    return Holding(until.replace(tzinfo=UTC), *read_cause(cause))


def read_cause(text: str) -> tuple[str, str]:
    """Return the message_id and the correlation_id of the column `held_by`."""
    message_id, _, correlation_id = text.partition("\n")
    return message_id, correlation_id


def _write_cause(hold: Holding) -> str:
    return f"{hold.message_id}\n{hold.correlation_id}"


def _read_answer(text: str, sequence: int) -> ProductEvent | None:
    """Return the event of the column `answer`; None if the line was answered since, by a program without the column."""
    type_, _, body = text.partition(" ")
    event = wire.product_event(type_, body.encode())
    return event if event.sequence == sequence else None


def _write_answer(event: ProductEvent) -> str:
    return " ".join(wire.write_product_event(event))
