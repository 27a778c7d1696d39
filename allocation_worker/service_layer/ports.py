"""The ports of the message bus and the handlers."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from allocation_contracts import AllocationError
from allocation_worker.domain.commands import Command
from allocation_worker.domain.events import Event, ProductEvent
from allocation_worker.domain.model import LineId, OrderLine, Product
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent


class StoreError(AllocationError):
    """The store refused a statement, and the transaction is lost."""


class StoreContentionError(StoreError):
    """Another transaction interfered (deadlock, lock timeout, duplicate key): run this transaction again."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached. Whether a pending commit took place is unknown."""


class Receipt(Enum):
    """The inbox's verdict on a message."""

    FRESH = "not seen before"
    REPEAT = "the same message was taken before"
    CONFLICT = "another message was taken under this id"


class Products(Protocol):
    """The repository of the aggregate. Every product that it returns is locked until the transaction ends."""

    def lock_for(self, commands: Iterable[Command]) -> None:
        """Lock and load the products, lines and batches that these commands name, all at once."""

    def get(self, sku: str, line: LineId | None = None) -> Product | None:
        """Return the product, with `line` among its lines; None if the SKU is unknown."""

    def get_by_batchref(self, reference: str) -> Product | None:
        """Return the product that has this batch, with the batch among its batches; None if there is no such batch."""

    def add(self, product: Product, line: LineId | None = None) -> Product:
        """Add a new product, with a blank entry for `line` if one is given. Returns `product`."""

    def lines_latest_first(self, product: Product, batchref: str) -> Iterator[OrderLine]:
        """Return the lines that hold stock of the batch, the most recently allocated first.

        They are read as they are asked for. A line that `product` holds already is that same object; any other is for
        `product` to take up, or changes to it are lost.
        """


class Inbox(Protocol):
    """The messages that have been received."""

    def receive(self, messages: Sequence[CommandMessage]) -> list[Receipt]:
        """Record these messages as received, and return a receipt for each, in their order.

        Each message is written, not only looked up, so this waits for a transaction that is receiving the same message.
        """

    def forget(self, message: CommandMessage) -> None:
        """Remove the record of a message that will be retried."""


class Outbox(Protocol):
    """The events that are published after the commit, in order for each product."""

    def add(self, event: Event, cause: CommandMessage) -> None:
        """Add an event that `cause` led to."""


class UnitOfWork(Protocol):
    """One transaction. It is rolled back if it ends without `commit`.

    All methods, and those of `products`, `inbox` and `outbox`, may raise StoreError.
    """

    @property
    def products(self) -> Products: ...

    @property
    def inbox(self) -> Inbox: ...

    @property
    def outbox(self) -> Outbox: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def collect_new_events(self) -> list[ProductEvent]:
        """Return the events that the returned products have recorded since the last call."""

    def commit(self) -> None:
        """Commit everything together. It is durable when this returns."""


UnitOfWorkFactory = Callable[[], UnitOfWork]


class Pending(Protocol):
    """A session with the outbox, for the relay. Any method may raise StoreUnavailableError or StoreContentionError."""

    def acquire(self) -> bool:
        """Become the one reader of the outbox, until the session ends. Return False while another session is."""

    def fetch(self, limit: int, in_flight: Collection[int]) -> list[OutgoingEvent]:
        """Return the first events that wait to be published, `limit` at most, in the order of their ids.

        Those whose ids are `in_flight`, those set aside and those marked are left out. The ids of a product's events
        are in the order of their sequence.
        """

    def start_over(self) -> None:
        """Let `fetch` bring again what it brought before and what was not marked."""

    def mark_published(self, ids: Collection[int]) -> None:
        """Mark these events as published. The mark may be lost in a crash of the database."""

    def set_aside(self, ids: Collection[int]) -> None:
        """Keep these events out of `fetch` until they are taken up: no queue is bound for them."""

    def oldest_set_aside(self) -> list[OutgoingEvent]:
        """Return the first event set aside of each type."""

    def take_up(self, types: Collection[str]) -> None:
        """Let `fetch` bring the events of these types that were set aside."""

    def wait(self, timeout: float, wake_fd: int) -> bool:
        """Wait until an event is committed, `wake_fd` can be read, or `timeout` seconds have passed; perhaps less.

        Returns:
            Whether there may be new events: one was committed, or the time passed in which a notice may have been lost.
        """


class EventPublisher(Protocol):
    """Publishes events in the order given. Exactly one result comes for each."""

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached; what is published while it cannot is lost."""

    def publish(self, batch: Sequence[OutgoingEvent]) -> None:
        """Publish these events, in their order, without waiting for their results."""

    def take_results(self) -> list[MessageResult]:
        """Return the results that have come since the last call, perhaps none."""
