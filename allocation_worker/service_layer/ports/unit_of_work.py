"""What the message bus and the handlers need of the store: one transaction."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from allocation_worker.domain.commands import Command
from allocation_worker.domain.events import Event, RaisedEvent
from allocation_worker.domain.lines import LineId, OrderLine, Turn
from allocation_worker.domain.model import Product
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import LockedProduct


class Receipt(Enum):
    """The inbox's verdict on a message."""

    FRESH = "not seen before"
    REPEAT = "the same message was taken before"
    CONFLICT = "another message was taken under this id"


class Products(Protocol):
    """The repository of the aggregate. Every product that it returns is locked until the transaction ends."""

    def lock_for(self, commands: Iterable[Command], *, patient: bool = True) -> None:
        """Lock and load the products, lines and batches that these commands name, all at once.

        Args:
            commands: The commands.
            patient: Whether to wait for locks as long as the setting says, and not for a moment only.

        Raises:
            StoreLockTimeoutError: Others have locked some of the products for longer than that.
        """

    def locked_by_others(self, skus: Collection[str]) -> list[LockedProduct]:
        """Return those of these products that others have locked. It may lock the rest, and never waits."""

    def skus_of_batches(self, references: Collection[str]) -> dict[str, str]:
        """Return the SKU of each of these batches that exists, by its reference. Nothing is locked."""

    def get(self, sku: str, line: LineId | None = None) -> Product | None:
        """Return the product, with `line` among its lines; None if the SKU is unknown."""

    def get_by_batchref(self, reference: str) -> Product | None:
        """Return the product that has this batch, with the batch among its batches; None if there is no such batch."""

    def was_pruned(self, reference: str) -> bool:
        """Return whether a batch that `get_by_batchref` has not found was there once, and was pruned."""

    def add(self, product: Product, line: LineId | None = None) -> Product:
        """Add a new product, with a blank entry for `line` if one is given. Returns `product`."""

    def lines_last_asked_first(self, product: Product, batchref: str) -> Iterator[OrderLine]:
        """Return the lines that hold stock of the batch, in the order of their places, the last one first.

        Those for which the stock is only held come before those that were allocated. They are read as they are asked
        for. A line that `product` holds already is that same object; any other is for `product` to take up, or changes
        to it are lost.
        """

    def lines_first_asked_first(
        self, product: Product, batchref: str, *, after: int, limit: int
    ) -> Sequence[OrderLine]:
        """Return lines that hold stock of the batch, in the order of their places.

        Lines that this has returned before, and that still hold stock of the batch, are written and need not be kept in
        memory. The `answer` of a line is not read.

        Args:
            product: The product.
            batchref: The batch.
            after: The place of the last line that was looked at; 0 for the beginning.
            limit: The most lines.
        """

    def waiting(self, product: Product, *, after: Turn | None, at_most: int, limit: int) -> Sequence[OrderLine]:
        """Return lines of the product that wait for stock, in order of their turns.

        What this has returned before, for the same product, is written and need not be kept in memory. The `answer` of
        a line is not read.

        Args:
            product: The product.
            after: The last line that was looked at; None for the beginning.
            at_most: The largest quantity of a line.
            limit: The most lines.
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

    def hold_limit_from_now(self) -> datetime:
        """Return the latest time until which stock may be held: the database's time and the hold limit."""

    def collect_new_events(self) -> list[RaisedEvent]:
        """Return the events that the returned products have recorded since the last call."""

    def commit(self) -> None:
        """Commit everything together. It is durable when this returns."""


UnitOfWorkFactory = Callable[[], UnitOfWork]
