"""The store in memory: one transaction at a time, on copies, so that a rollback is real.

`tests/contract/test_unit_of_work.py` holds it to the promises that PostgreSQL keeps.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4, uuid5

from allocation_worker.adapters import wire
from allocation_worker.domain.commands import Command
from allocation_worker.domain.events import CommandRejected, Event, ProductEvent
from allocation_worker.domain.model import LineId, OrderLine, Product
from allocation_worker.service_layer.messages import Message
from allocation_worker.service_layer.ports import Receipt, StoreError


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of the outbox."""

    message_id: str
    type: str
    sku: str | None
    sequence: int | None
    body: dict[str, Any]
    correlation_id: str
    causation_id: str
    traceparent: str | None


@dataclass
class State:
    """What a transaction sees."""

    products: dict[str, Product] = field(default_factory=dict)
    streams: dict[str, UUID] = field(default_factory=dict)
    inbox: dict[str, bytes] = field(default_factory=dict)
    outbox: list[Published] = field(default_factory=list)


@dataclass(frozen=True)
class CommitFailure:
    """What is to go wrong with a commit: whether it takes place all the same, and what is raised."""

    error: Exception
    durable: bool = False


class FakeDatabase:
    """What has been committed.

    Attributes:
        failures: what is to befall the next commits, one each; None lets one pass.
    """

    def __init__(self) -> None:
        self.committed = State()
        self.lock = Lock()
        self.failures: deque[CommitFailure | None] = deque()

    def unit_of_work(self) -> "FakeUnitOfWork":
        return FakeUnitOfWork(self)

    def published(self) -> list[Published]:
        """The outbox, in order."""
        return list(self.committed.outbox)

    def taken(self) -> set[str]:
        """The message_ids in the inbox."""
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
            if line.sequence
        }


class FakeProducts:
    """All products are at hand, whole."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._touched: list[Product] = []

    def expect(self, commands: Iterable[Command]) -> None:
        for _ in commands:
            pass

    def get(self, sku: str, line: LineId | None = None) -> Product | None:
        product = self._state.products.get(sku)
        if product is None:
            return None
        if line is not None:
            product.lines.setdefault(line, OrderLine(*line))
        self._touched.append(product)
        return product

    def get_by_batchref(self, reference: str) -> Product | None:
        for product in self._state.products.values():
            if reference in product.batches:
                self._touched.append(product)
                return product
        return None

    def add(self, product: Product, line: LineId | None = None) -> Product:
        self._state.products[product.sku] = product
        self._state.streams[product.sku] = uuid4()
        if line is not None:
            product.lines[line] = OrderLine(*line)
        self._touched.append(product)
        return product

    def lines_latest_first(self, product: Product, batchref: str) -> Iterator[OrderLine]:
        holding = [line for line in product.lines.values() if line.batchref == batchref]
        yield from sorted(holding, key=lambda line: -line.sequence)

    def collect_new_events(self) -> list[ProductEvent]:
        collected: list[ProductEvent] = []
        for product in self._touched:
            collected += product.events
            product.events = []
        self._touched.clear()
        return collected


class FakeInbox:
    def __init__(self, state: State) -> None:
        self._state = state

    def receive(self, messages: Sequence[Message]) -> list[Receipt]:
        return [self._receive(message) for message in messages]

    def forget(self, message: Message) -> None:
        del self._state.inbox[message.message_id]

    def _receive(self, message: Message) -> Receipt:
        known = self._state.inbox.get(message.message_id)
        if known is None:
            self._state.inbox[message.message_id] = message.fingerprint
            return Receipt.FRESH
        return Receipt.REPEAT if known == message.fingerprint else Receipt.CONFLICT


class FakeOutbox:
    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, event: Event, cause: Message) -> None:
        type_, body = wire.write(event, cause)
        if isinstance(event, CommandRejected):
            message_id, sku, sequence = uuid4(), None, None
        else:
            message_id = uuid5(self._state.streams[event.sku], str(event.sequence))
            sku, sequence = event.sku, event.sequence
        self._state.outbox.append(
            Published(
                message_id=str(message_id),
                type=type_,
                sku=sku,
                sequence=sequence,
                body=json.loads(body),
                correlation_id=cause.correlation_id,
                causation_id=cause.message_id,
                traceparent=cause.traceparent,
            )
        )


class FakeUnitOfWork:
    """A transaction: others wait at the door until it is over."""

    products: FakeProducts
    inbox: FakeInbox
    outbox: FakeOutbox

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database

    def __enter__(self) -> Self:
        assert self._database.lock.acquire(timeout=10), "another transaction never ends"
        self._state = deepcopy(self._database.committed)
        self.products = FakeProducts(self._state)
        self.inbox = FakeInbox(self._state)
        self.outbox = FakeOutbox(self._state)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.lock.release()

    def collect_new_events(self) -> list[ProductEvent]:
        return self.products.collect_new_events()

    def commit(self) -> None:
        for product in self._state.products.values():
            for batch in product.batches.values():
                if not 0 <= batch.allocated_quantity <= batch.purchased_quantity:
                    raise StoreError(f"never_oversold: {batch}")
        failure = self._database.failures.popleft() if self._database.failures else None
        if failure is None or failure.durable:
            self._database.committed = deepcopy(self._state)
        if failure is not None:
            raise failure.error
