"""The store in memory, with real rollbacks and row locks.

The suites `tests/contract/test_unit_of_work.py` and `test_lines.py` test it and PostgreSQL alike.
"""

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Condition
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID, uuid4, uuid5

from allocation_worker.adapters import wire
from allocation_worker.domain.commands import BatchCommand, Command, CreateBatch, LapseHold
from allocation_worker.domain.events import CommandRejected, Event, RaisedEvent
from allocation_worker.domain.lines import LineId, OrderLine, Turn
from allocation_worker.domain.model import Product
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import LockedProduct
from allocation_worker.service_layer.ports import Receipt, StoreContentionError, StoreError
from tests.fakes.locks import LOCK_TIMEOUT, LOCKED_FOR_LONG, Locks


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of the outbox, as it was decided."""

    message_id: str
    type: str
    sku: str | None
    sequence: int | None
    body: dict[str, Any]
    correlation_id: str
    causation_id: str
    traceparent: str | None
    tracestate: str | None = None


EVENTS_A_PAGE = 3
"""Fewer than in PostgreSQL, so that a transaction soon has several."""

START = datetime(2030, 1, 1, tzinfo=UTC)
"""When the clock of the store starts."""

PLACES = 100
"""The id of an event is `page * PLACES + place`."""


class OutboxEvent(NamedTuple):
    """An event in a page of the outbox."""

    event: Published
    body: bytes


@dataclass
class State:
    """What has been committed.

    Attributes:
        outbox: The events of all pages, by their ids.
        page_products: The product of each page that others may pass.
        published: The ids of the pages that are marked.
        unrouted: The ids of events of marked pages that no queue is bound for.
        waits_since: When each line began to wait that waits; by SKU, orderid and lineid.
        lapses: The commands that ended holds, each with the number of messages that were in the inbox before it.
        ended: The lines that have ended, and when; None if that was not noted yet.
        pruned: How much of each batch was shipped by lines that were pruned.
        batches_ended: The batches of which nothing is left, and when that was noted.
        pruned_batches: The SKU of each batch that was pruned.
    """

    products: dict[str, Product] = field(default_factory=dict)
    streams: dict[str, UUID] = field(default_factory=dict)
    inbox: dict[str, bytes] = field(default_factory=dict)
    outbox: dict[int, OutboxEvent] = field(default_factory=dict)
    page_products: dict[int, str] = field(default_factory=dict)
    published: set[int] = field(default_factory=set)
    unrouted: set[int] = field(default_factory=set)
    waits_since: dict[tuple[str, str, str], datetime] = field(default_factory=dict)
    lapses: list[tuple[int, LapseHold]] = field(default_factory=list)
    ended: dict[tuple[str, LineId], datetime | None] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=dict)
    batches_ended: dict[str, datetime] = field(default_factory=dict)
    pruned_batches: dict[str, str] = field(default_factory=dict)

    def waits(self, id_: int) -> bool:
        """Return whether this event is still to be published."""
        return id_ in self.unrouted or id_ // PLACES not in self.published

    def prune_batch(self, batchref: str, sku: str) -> None:
        self.products[sku] = _copied(self.products[sku], without=batchref)
        self.pruned_batches[batchref] = sku

    def sku_of(self, batchref: str) -> str | None:
        return next((sku for sku, product in self.products.items() if batchref in product.batches), None)


@dataclass(frozen=True)
class CommitFailure:
    """What is to go wrong with a commit: whether it takes place all the same, and what is raised."""

    error: Exception
    durable: bool = False


class FakeDatabase:
    """What has been committed, and who has locked some of it.

    Args:
        condition: what transactions wait by.
        new_uuid: where random ids come from.
        now: tells the time.

    Attributes:
        failures: what is to befall the next commits, one each; None lets one pass.
        listeners: called after each commit that wrote events.
        numbered: the first page that each transaction under way has numbered.
        relay: the session that reads the outbox, if any.
        restored_at: the sequence from which new products go on, after a restored backup.
        hold_limit: the longest that stock is held.
    """

    def __init__(
        self,
        condition: Callable[[], Condition] = Condition,
        new_uuid: Callable[[], UUID] = uuid4,
        now: Callable[[], datetime] = lambda: START,
    ) -> None:
        self.committed = State()
        self.locks = Locks(condition)
        self.new_uuid = new_uuid
        self.failures: deque[CommitFailure | None] = deque()
        self.listeners: list[Callable[[], None]] = []
        self.numbered: dict[Transaction, int] = {}
        self.next_page = 1
        self.transactions_begun = 0
        self.relay: object | None = None
        self.restored_at = 0
        self.now = now
        self.hold_limit = timedelta(days=1)

    def unit_of_work(self) -> "FakeUnitOfWork":
        return FakeUnitOfWork(self)

    def restored(self) -> int:
        """As after a restored backup: every product goes on from the sequence that is returned."""
        self.restored_at += 2_000_000_000
        for product in self.committed.products.values():
            product.sequence = self.restored_at
        return self.restored_at

    def published(self) -> list[Published]:
        """The outbox, in order."""
        return [stored.event for _, stored in sorted(self.committed.outbox.items())]

    def taken(self, *_asked: str) -> set[str]:
        """The message_ids in the inbox. Another store knows only those that it is asked for."""
        return set(self.committed.inbox)

    def stock(self) -> dict[str, tuple[int, int]]:
        """The purchased and the allocated quantity of each batch."""
        return {
            reference: (batch.purchased_quantity, batch.allocated_quantity)
            for product in self.committed.products.values()
            for reference, batch in product.batches.items()
        }

    def lines(self) -> set[tuple[str, str, str, int, str | None, bool]]:
        """The orderid, SKU, lineid, quantity, batch and cancellation of each line that was ever heard of."""
        return {
            (line.orderid, sku, line.lineid, line.qty, line.batchref, line.cancelled)
            for sku, product in self.committed.products.items()
            for line in product.lines.values()
            if line.place
        }


class Transaction:
    """What one transaction has locked, sees and has written; nobody else sees it until `apply`."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        database.transactions_begun += 1
        self.serial = database.transactions_begun
        self._committed = database.committed
        self.restored_at = database.restored_at
        self.products: dict[str, Product] = {}
        self.streams: dict[str, UUID] = {}
        self.receipts: dict[str, bytes | None] = {}
        self.events: list[OutboxEvent] = []
        self.lapses: list[LapseHold] = []
        self._ids: list[int] = []

    def product(self, sku: str, timeout: float = LOCK_TIMEOUT) -> Product | None:
        """Locked before it is read; this transaction's own copy."""
        if sku not in self.products:
            self._database.locks.take(("sku", sku), self, timeout)
            if committed := self._committed.products.get(sku):
                self.products[sku] = _copied(committed)
                self.streams[sku] = self._committed.streams[sku]
        return self.products.get(sku)

    def locked_by_others(self, sku: str) -> LockedProduct | None:
        """The product, if it exists and another transaction has locked it."""
        holder = self._database.locks.holder(("sku", sku))
        if sku not in self._committed.products or holder in {None, self}:
            return None
        return LockedProduct(sku, str(getattr(holder, "serial", holder)))

    def sku_of(self, batchref: str) -> str | None:
        own = (sku for sku, product in self.products.items() if batchref in product.batches)
        return next(own, None) or self._committed.sku_of(batchref)

    def was_pruned(self, batchref: str) -> bool:
        return batchref in self._committed.pruned_batches

    def receipt(self, message_id: str) -> bytes | None:
        """The fingerprint known under this id, once nobody else is taking it."""
        self._database.locks.take(("message", message_id), self)
        if message_id in self.receipts:
            return self.receipts[message_id]
        return self._committed.inbox.get(message_id)

    def new_uuid(self) -> UUID:
        return self._database.new_uuid()

    def number(self) -> None:
        """Number the pages, and so the events; transactions may commit in another order."""
        pages = -(-len(self.events) // EVENTS_A_PAGE)
        if self.events and not self._ids:
            first = self._database.next_page
            self._database.next_page += pages
            self._database.numbered[self] = first
            places = range(len(self.events))
            self._ids = [(first + place // EVENTS_A_PAGE) * PLACES + place % EVENTS_A_PAGE for place in places]

    def check(self) -> None:
        """What constraints forbid.

        Raises:
            StoreError: a batch is oversold.
            StoreContentionError: another transaction has just created a batch of that reference.
        """
        for sku, product in self.products.items():
            for reference, batch in product.batches.items():
                if not 0 <= batch.allocated_quantity <= batch.purchased_quantity:
                    raise StoreError(f"never_oversold: {batch}")
                if self._committed.sku_of(reference) not in {None, sku}:
                    raise StoreContentionError(f"unique_violation: {reference}")

    def apply(self) -> None:
        """Make it all durable at one stroke."""
        for sku, product in self.products.items():
            self._note_ends(product, self._committed.products.get(sku) or Product(sku))
        self._committed.products |= {sku: _copied(product) for sku, product in self.products.items()}
        self._committed.streams |= self.streams
        self._note_since()
        for message_id, fingerprint in self.receipts.items():
            if fingerprint is None:
                self._committed.inbox.pop(message_id, None)
            else:
                self._committed.inbox[message_id] = fingerprint
        self._committed.lapses += [(len(self._committed.inbox), lapse) for lapse in self.lapses]
        self._committed.outbox |= zip(self._ids, self.events, strict=True)
        self._committed.page_products |= self._page_products()
        if self.events:
            for listener in list(self._database.listeners):
                listener()

    def _note_since(self) -> None:
        now = self._database.now() + timedelta(microseconds=self.serial)
        for sku, product in self.products.items():
            for line_id, line in product.lines.items():
                if line.waits:
                    self._committed.waits_since.setdefault((sku, *line_id), now)
                else:
                    self._committed.waits_since.pop((sku, *line_id), None)

    def _note_ends(self, product: Product, before: Product) -> None:
        for line_id, line in product.lines.items():
            known = before.lines.get(line_id)
            if line == known or not line.sequence:
                continue
            if not has_ended(line):
                self._committed.ended.pop((product.sku, line_id), None)
            else:
                noted = self._database.now() if known and known.sequence else None
                self._committed.ended[product.sku, line_id] = noted
        for reference, batch in product.batches.items():
            if batch != before.batches.get(reference):
                self._committed.batches_ended.pop(reference, None)

    def _page_products(self) -> dict[int, str]:
        """The product of each page but the first whose events are all of one."""
        products: dict[int, set[str | None]] = {}
        for id_, event in zip(self._ids, self.events, strict=True):
            products.setdefault(id_ // PLACES, set()).add(event.event.sku)
        further = list(products.items())[1:]
        return {page: sku for page, skus in further if len(skus) == 1 for sku in skus if sku is not None}

    def end(self) -> None:
        """Let others have what it has locked."""
        self._database.numbered.pop(self, None)
        self._database.locks.release(self)


def has_ended(line: OrderLine) -> bool:
    """Return whether nothing more happens to the line unless somebody asks for it again."""
    return line.shipped or (line.batchref is None and (line.cancelled or not line.terms.wait))


def _copied(product: Product, *, without: str | None = None) -> Product:
    twin = Product(
        product.sku,
        sequence=product.sequence,
        batches_arrived=product.batches_arrived,
        smallest_waiting=product.queue.smallest,
    )
    for batch in product.batches.values():
        if batch.reference != without:
            twin.bring_in(copy(batch))
    twin.lines = {line_id: copy(line) for line_id, line in product.lines.items()}
    return twin


class FakeProducts:
    """All products are at hand, whole."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._touched: dict[str, Product] = {}

    def lock_for(self, commands: Iterable[Command], *, patient: bool = True) -> None:
        skus: set[str | None] = set()
        for command in commands:
            if isinstance(command, CreateBatch | BatchCommand):
                skus.add(self._transaction.sku_of(command.batchref))
            if not isinstance(command, BatchCommand):
                skus.add(command.sku)
        for sku in sorted(skus - {None}, key=str):
            self._transaction.product(str(sku), LOCK_TIMEOUT if patient else LOCKED_FOR_LONG)

    def locked_by_others(self, skus: Collection[str]) -> list[LockedProduct]:
        found = (self._transaction.locked_by_others(sku) for sku in sorted(skus))
        return [product for product in found if product]

    def skus_of_batches(self, references: Collection[str]) -> dict[str, str]:
        owners = {reference: self._transaction.sku_of(reference) for reference in references}
        return {reference: sku for reference, sku in owners.items() if sku is not None}

    def get(self, sku: str, line: LineId | None = None) -> Product | None:
        product = self._transaction.product(sku)
        if product is None:
            return None
        if line is not None:
            product.lines.setdefault(line, OrderLine(sku, *line))
        self._touched[product.sku] = product
        return product

    def get_by_batchref(self, reference: str) -> Product | None:
        sku = self._transaction.sku_of(reference)
        return None if sku is None else self.get(sku)

    def was_pruned(self, reference: str) -> bool:
        return self._transaction.was_pruned(reference)

    def add(self, product: Product, line: LineId | None = None) -> Product:
        self._transaction.products[product.sku] = product
        product.sequence = self._transaction.restored_at
        self._transaction.streams[product.sku] = self._transaction.new_uuid()
        if line is not None:
            product.lines[line] = OrderLine(product.sku, *line)
        self._touched[product.sku] = product
        return product

    def lines_last_asked_first(self, product: Product, batchref: str) -> Iterator[OrderLine]:
        holding = [line for line in product.lines.values() if line.batchref == batchref and not line.shipped]
        yield from sorted(holding, key=lambda line: (line.hold is None, -line.place))

    def lines_first_asked_first(self, product: Product, batchref: str, *, after: int, limit: int) -> list[OrderLine]:
        holding = [line for line in product.lines.values() if line.batchref == batchref and line.place > after]
        return sorted(holding, key=lambda line: line.place)[:limit]

    def waiting(self, product: Product, *, after: Turn | None, at_most: int, limit: int) -> list[OrderLine]:
        lines = [line for line in product.lines.values() if line.waits and line.qty <= at_most]
        in_turn = sorted(lines, key=lambda line: line.turn)
        return [line for line in in_turn if after is None or line.turn > after][:limit]

    def collect_new_events(self) -> list[RaisedEvent]:
        collected: list[RaisedEvent] = []
        for product in self._touched.values():
            collected += product.take_events()
        self._touched.clear()
        return collected


class FakeInbox:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def receive(self, messages: Sequence[CommandMessage]) -> list[Receipt]:
        known = {id_: self._transaction.receipt(id_) for id_ in sorted({each.message_id for each in messages})}
        receipts = []
        for message in messages:
            fingerprint = known[message.message_id]
            if fingerprint is None:
                known[message.message_id] = message.fingerprint
                self._transaction.receipts[message.message_id] = message.fingerprint
                receipts.append(Receipt.FRESH)
            else:
                same = fingerprint == message.fingerprint
                receipts.append(Receipt.REPEAT if same else Receipt.CONFLICT)
        return receipts

    def forget(self, message: CommandMessage) -> None:
        self._transaction.receipts[message.message_id] = None


class FakeOutbox:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, event: Event, cause: CommandMessage) -> None:
        type_, body = wire.write(event, cause)
        if isinstance(event, CommandRejected):
            message_id, sku, sequence = self._transaction.new_uuid(), None, None
        else:
            message_id = uuid5(self._transaction.streams[event.sku], str(event.sequence))
            sku, sequence = event.sku, event.sequence
        published = Published(
            message_id=str(message_id),
            type=type_,
            sku=sku,
            sequence=sequence,
            body=json.loads(body),
            correlation_id=cause.correlation_id,
            causation_id=cause.message_id,
            traceparent=cause.traceparent,
            tracestate=cause.tracestate,
        )
        self._transaction.events.append(OutboxEvent(published, body.encode()))


class FakeUnitOfWork:
    """A transaction: others wait for what it has locked."""

    products: FakeProducts
    inbox: FakeInbox
    outbox: FakeOutbox

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database

    def __enter__(self) -> Self:
        self._transaction = Transaction(self._database)
        self.products = FakeProducts(self._transaction)
        self.inbox = FakeInbox(self._transaction)
        self.outbox = FakeOutbox(self._transaction)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transaction.end()

    def hold_limit_from_now(self) -> datetime:
        return self._database.now() + self._database.hold_limit

    def collect_new_events(self) -> list[RaisedEvent]:
        return self.products.collect_new_events()

    def commit(self) -> None:
        self._transaction.check()
        self._transaction.number()
        failure = self._database.failures.popleft() if self._database.failures else None
        if failure is None or failure.durable:
            self._transaction.apply()
        if failure is not None:
            raise failure.error
