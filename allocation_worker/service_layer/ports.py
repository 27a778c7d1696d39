"""What the handlers and the bus need of the world outside."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from allocation_worker.domain.commands import Command
from allocation_worker.domain.events import Event, ProductEvent
from allocation_worker.domain.model import LineId, OrderLine, Product
from allocation_worker.service_layer.messages import Message


class StoreError(Exception):
    """The store refused a statement; the transaction is lost."""


class StoreContention(StoreError):  # noqa: N818 - reads as what it is
    """Another transaction was in the way (deadlock, lock timeout, a key just taken): run this one again."""


class StoreUnavailable(StoreError):  # noqa: N818 - reads as what it is
    """The store cannot be reached, or went away; whether a commit under way took place is not known."""


class Receipt(Enum):
    """What the inbox says of a message."""

    FRESH = "not seen before"
    REPEAT = "the same message was taken before"
    CONFLICT = "another message was taken under this id"


class Products(Protocol):
    """The repository of the aggregate. Whatever it hands out is locked until the transaction ends."""

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
    """Which messages have been taken."""

    def receive(self, messages: Sequence[Message]) -> list[Receipt]:
        """Write down that these were taken, and say which of them are new, in their order.

        It is a write for each of them, so that it waits for another transaction that is taking the same message.
        """

    def forget(self, message: Message) -> None:
        """Undo the receipt of a message that is to come again."""


class Outbox(Protocol):
    """The events that will be published once the transaction is committed, each product's in order."""

    def add(self, event: Event, cause: Message) -> None:
        """Publish this event, in answer to that message."""


class UnitOfWork(Protocol):
    """One transaction. Leaving it without `commit` rolls back.

    Any of its methods, and those of its parts, may raise StoreError.
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
        """The events recorded by the products handed out, since this was last asked."""

    def commit(self) -> None:
        """Make all of it durable, together. When it returns, it is."""


UnitOfWorkFactory = Callable[[], UnitOfWork]
