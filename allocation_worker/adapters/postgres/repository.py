"""The repository of products. The number of statements does not depend on the number of commands."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.adapters.postgres import statements
from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.rows import LineKey, Rows, Stream
from allocation_worker.adapters.postgres.watchdog import watched_connection
from allocation_worker.adapters.postgres.writer import Writer
from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    LineCommand,
)
from allocation_worker.domain.events import RaisedEvent
from allocation_worker.domain.lines import LineId, OrderLine, Turn
from allocation_worker.domain.model import Product
from allocation_worker.service_layer.outcomes import LockedProduct
from allocation_worker.service_layer.ports import StoreContentionError

LOCKED_FOR_LONG = 300
"""Milliseconds after which a lock is too long in coming, and one more for each command of the group.

Large groups of several consumers wait for each other for longer.
"""
LINES_AT_FIRST = 30
"""A batch that shrinks mostly loses a few lines."""
LINES_AT_A_TIME = 1000
MAX_PLACE = 2**63 - 1
_BEFORE_ALL = Turn(-100, 0)


class PostgresProducts:
    """The products of one transaction. Each is locked before any part of it is read.

    Args:
        connection: The transaction.
        writer: Writes to it.
        optimistic: Whether lines to be allocated are taken for new, so that one that is not raises StoreContentionError
            when it is written.

    Attributes:
        found_known: Whether any line that was to be allocated was there before.
    """

    def __init__(self, connection: Connection, writer: Writer, *, optimistic: bool = False) -> None:
        self._connection = connection
        self._writer = writer
        self._optimistic = optimistic
        self.found_known = False
        self._products: dict[str, Product] = {}
        self._looked_for: set[str] = set()
        self._streams: dict[str, Stream] = {}
        self._beginning: int | None = None
        self._sku_of_batch: dict[str, str] = {}
        self._found_batches: set[str] = set()
        self._pruned_batches: set[str] = set()
        self._touched: dict[str, Product] = {}
        self._rows = Rows(writer)
        self._page: list[OrderLine] = []
        self._not_named: list[OrderLine] = []

    def lock_for(self, commands: Iterable[Command], *, patient: bool = True) -> None:
        commands = list(commands)
        skus: set[str] = set()
        to_allocate: set[LineKey] = set()
        to_read: set[LineKey] = set()
        batches: dict[str, str] = {}
        for command in commands:
            match command:
                case Allocate():
                    skus.add(command.sku)
                    to_allocate.add((command.sku, command.line_id))
                case LineCommand():
                    skus.add(command.sku)
                    to_read.add((command.sku, command.line_id))
                case CreateBatch():
                    skus.add(command.sku)
                    batches[command.batchref] = batches.get(command.batchref) or command.sku
                case ChangeBatchQuantity() | ChangeBatchEta():
                    batches.setdefault(command.batchref, "")
        if skus or batches:
            limit = None if patient else LOCKED_FOR_LONG + len(commands)
            self._load(skus, to_read, batches, to_allocate=to_allocate, limit=limit)

    def locked_by_others(self, skus: Collection[str]) -> list[LockedProduct]:
        rows = self._connection.execute(statements.LOCKED_PRODUCTS, {"skus": array(sorted(skus))})
        return [LockedProduct(row.sku, row.lock) for row in rows]

    def skus_of_batches(self, references: Collection[str]) -> dict[str, str]:
        rows = self._connection.execute(statements.SKUS_OF_BATCHES, {"refs": array(sorted(references))})
        return {row.reference: row.sku for row in rows}

    def get(self, sku: str, line: LineId | None = None) -> Product | None:
        if sku not in self._looked_for:
            self._load({sku}, set(), {})
        product = self._products.get(sku)
        if product is None:
            return None
        if line is not None and line not in product.lines:
            self._load(set(), {(sku, line)}, {})
        self._touched[product.sku] = product
        return product

    def get_by_batchref(self, reference: str) -> Product | None:
        if reference not in self._sku_of_batch:
            self._load(set(), set(), {reference: ""})
        product = self._products.get(self._sku_of_batch[reference])
        if product is None or reference not in product.batches:
            if reference in self._found_batches:
                raise StoreContentionError(f"Batch {reference!r} was pruned while this transaction was looking.")
            return None
        self._touched[product.sku] = product
        return product

    def was_pruned(self, reference: str) -> bool:
        return reference in self._pruned_batches

    def add(self, product: Product, line: LineId | None = None) -> Product:
        self._looked_for.add(product.sku)
        self._products[product.sku] = product
        if self._beginning is None:
            self._beginning = self._connection.scalar(statements.BEGINNING) or 0
        product.sequence = self._beginning
        self._streams[product.sku] = Stream(uuid4().bytes, last=product.sequence)
        if line is not None:
            product.lines[line] = OrderLine(product.sku, *line)
        self._touched[product.sku] = product
        return product

    def lines_last_asked_first(self, product: Product, batchref: str) -> Iterator[OrderLine]:
        self._rows.flush_lines(product.lines.values())
        self._writer.flush()
        parameters = {"batchref": batchref, "before": MAX_PLACE, "limit": LINES_AT_FIRST}
        first = self._connection.execute(statements.LAST_LINES_OF_BATCH, parameters).all()
        held = [row for row in first if row.held_until is not None]
        allocated = [row for row in first if row.held_until is None]
        for statement, rows in ((statements.HELD_LINES_OF_BATCH, held), (statements.LINES_OF_BATCH, allocated)):
            yield from self._onwards(product, batchref, statement, rows)

    def _onwards(
        self, product: Product, batchref: str, statement: sa.TextClause, rows: Sequence[sa.Row[Any]]
    ) -> Iterator[OrderLine]:
        """Yield the lines of these rows, and then those that the statement finds before them."""
        limit = LINES_AT_FIRST
        while rows:
            for row in rows:
                yield self._rows.line(product, row)
            if len(rows) < limit:
                break
            limit = LINES_AT_A_TIME
            parameters = {"batchref": batchref, "before": rows[-1].place, "limit": limit}
            rows = self._connection.execute(statement, parameters).all()

    def lines_first_asked_first(self, product: Product, batchref: str, *, after: int, limit: int) -> list[OrderLine]:
        parameters = {"batchref": batchref, "after": after, "limit": limit}
        return self._next_page(product, statements.LINES_OF_BATCH_FORWARDS, parameters, is_first=not after)

    def waiting(self, product: Product, *, after: Turn | None, at_most: int, limit: int) -> list[OrderLine]:
        urgency, place = after or _BEFORE_ALL
        parameters = {"sku": product.sku, "urgency": urgency, "place": place, "at_most": at_most, "limit": limit}
        return self._next_page(product, statements.WAITING_LINES, parameters, is_first=after is None)

    def _next_page(
        self, product: Product, statement: sa.TextClause, parameters: Mapping[str, object], *, is_first: bool
    ) -> list[OrderLine]:
        """Read lines. Of the page before, those are kept in memory that have lost their stock and look for other stock.

        A line that waits on is not among the lines of the product. It is forgotten as well.
        """
        if is_first:
            self._rows.flush_lines(product.lines.values())
        else:
            # No other line has changed since. To look at all would cost more with each page.
            self._rows.flush_lines(self._page)
            kept = product.lines
            gone = [line for line in self._not_named if line.batchref or line.id not in kept]
            self._rows.forget(product, gone)
        self._writer.flush()
        rows = self._connection.execute(statement, parameters).all()
        self._page = [self._rows.line(product, row) for row in rows]
        self._not_named = [line for line in self._page if line.id not in product.lines]
        return self._page

    def stream_of(self, sku: str) -> Stream:
        """Return the product's event stream as it was when the product was locked."""
        return self._streams[sku]

    def collect_new_events(self) -> list[RaisedEvent]:
        """Return the events that the returned products have recorded since the last call. Each is asked once."""
        collected: list[RaisedEvent] = []
        for product in self._touched.values():
            collected += product.take_events()
        self._touched.clear()
        return collected

    def flush(self) -> None:
        """Pass everything that has changed to the writer."""
        self._rows.flush(self._products.values(), self._streams)

    def _load(
        self,
        skus: set[str],
        lines: set[LineKey],
        batches: dict[str, str],
        *,
        to_allocate: Collection[LineKey] = (),
        limit: int | None = None,
    ) -> None:
        skus = (skus | self._locate(batches)) - self._looked_for
        self._lock(skus, limit=limit)
        # A batch that shrinks may need any of its lines as it is.
        new = self._sure_to_be_written(to_allocate) - lines if self._optimistic and not batches else set()
        of_lines = self._load_lines(lines.union(to_allocate) - new)
        self._add_blank_lines(new)
        self.found_known |= any(map(self._rows.has_line, to_allocate))
        self._load_batches(skus, of_lines | batches.keys(), limit=limit)

    def _locate(self, batches: dict[str, str]) -> set[str]:
        """Return the SKUs of the batches that exist. An unknown batch gets the SKU that its command names."""
        if not batches:
            return set()
        rows = self._connection.execute(statements.LOCATE_BATCHES, {"refs": array(sorted(batches))}).all()
        found = {row.reference: row.sku for row in rows if not row.pruned}
        self._found_batches.update(found)
        self._pruned_batches.update(row.reference for row in rows if row.pruned)
        self._sku_of_batch.update(batches | found)
        return set(found.values())

    def _lock(self, skus: set[str], *, limit: int | None) -> None:
        self._looked_for |= skus
        if skus:
            parameters = {"skus": array(sorted(skus))}
            statement = statements.LOCK_PRODUCTS
            if limit is not None:
                statement = statements.LOCK_PRODUCTS_SOON
                parameters["limit"] = f"{limit}ms"
            for sku, stream, *values in self._writer.ask(statement, parameters):
                sequence = values[0]
                self._products[sku] = self._rows.product(sku, *values)
                self._streams[sku] = Stream(bytes.fromhex(stream), sequence)

    def _load_lines(self, lines: set[LineKey]) -> set[str]:
        """Load the lines, with blank entries for unknown ones, and return the batches that they have stock of."""
        if not lines:
            return set()
        batchrefs: set[str] = set()
        ids = array([self._rows.line_uuid(key) for key in lines])
        for row in self._connection.execute(statements.LINES, {"ids": ids}):
            product = self._locked(row.sku)
            product.lines[row.orderid, row.lineid] = self._rows.line(product, row)
            batchrefs.add(row.batchref)
        self._add_blank_lines(lines)
        return batchrefs - {None}

    def _sure_to_be_written(self, to_allocate: Iterable[LineKey]) -> set[LineKey]:
        """Return the lines whose allocation is not refused. A product that never had a batch may refuse."""
        stocked = {sku for sku, product in self._products.items() if product.batches_arrived}
        return {key for key in to_allocate if key[0] in stocked}

    def _add_blank_lines(self, lines: Iterable[LineKey]) -> None:
        for sku, line_id in lines:
            if known := self._products.get(sku):
                known.lines.setdefault(line_id, OrderLine(sku, *line_id))

    def _load_batches(self, skus: set[str], references: set[str], *, limit: int | None) -> None:
        if not skus and not references:
            return
        parameters = {"skus": array(sorted(skus)), "refs": array(sorted(references))}
        statement = statements.BATCHES
        if skus and limit is not None:
            statement = statements.BATCHES_AND_USUAL_LIMIT
            parameters["usual"] = watched_connection(self._connection).lock_timeout
        for row in self._connection.execute(statement, parameters).all():
            reference, sku = row[:2]
            product = self._locked(sku)
            if reference not in product.batches:
                product.bring_in(self._rows.batch(row))

    def _locked(self, sku: str) -> Product:
        product = self._products.get(sku)
        if product is None:
            raise StoreContentionError(f"SKU {sku!r} was created by another transaction while this one was looking.")
        return product
