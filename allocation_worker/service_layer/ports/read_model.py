"""What the read model shows, and what keeps it up to date needs: the read model itself and the write model.

The read model may be behind the write model, but it never contradicts it: what it shows of a SKU was true after one of
the SKU's events.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Literal, NamedTuple, Protocol

from allocation_worker.domain.events import ProductEvent
from allocation_worker.service_layer.ports.errors import StoreUnavailableError

LineStatus = Literal["allocated", "held", "waiting", "out-of-stock", "cancelled", "shipped", "lapsed"]


class LineView(NamedTuple):
    """An order line. `batchref` and `eta` are those of the batch that it is allocated to, if there is one."""

    orderid: str
    sku: str
    lineid: str
    status: LineStatus
    qty: int
    batchref: str | None
    eta: date | None
    sequence: int


class BatchView(NamedTuple):
    """A batch. `sequence` is that of its `BatchCreated`, and so gives the order in which the batches arrived."""

    reference: str
    sku: str
    purchased: int
    allocated: int
    eta: date | None
    sequence: int

    @property
    def available(self) -> int:
        return self.purchased - self.allocated

    def preference(self) -> tuple[bool, date, int]:
        """Return the sort key of the domain: the warehouse first, then the earliest ETA, then the order of arrival."""
        return (self.eta is not None, self.eta or date.min, self.sequence)


class SkuView(NamedTuple):
    """A SKU after the event `sequence`; its batches are in the order in which they are used."""

    sku: str
    sequence: int
    batches: tuple[BatchView, ...]

    @property
    def available(self) -> int:
        return sum(batch.available for batch in self.batches)

    @property
    def in_warehouse(self) -> int:
        """What is available of the batches that are in the warehouse."""
        return sum(batch.available for batch in self.batches if batch.eta is None)

    @property
    def next_eta(self) -> date | None:
        """The day on which the next batch with stock arrives."""
        return next((batch.eta for batch in self.batches if batch.eta and batch.available), None)


class RejectionView(NamedTuple):
    """A command about an order that was rejected; the latest of its kind for this line."""

    orderid: str
    sku: str
    lineid: str
    command: str
    reason: str
    detail: str
    rejected_at: datetime


class GenerationMissingError(StoreUnavailableError):
    """There is no read model: it was never built, or Redis has lost it."""


class CountedEvent(NamedTuple):
    """An event of a type that this version does not know. It only increases the sequence of its SKU."""

    sku: str
    sequence: int


ProjectedEvent = ProductEvent | CountedEvent
"""What the read model applies."""


class GenerationClosedError(StoreUnavailableError):
    """This generation was replaced by another one: it is neither shown nor being built."""


class ReadModel(Protocol):
    """Stores generations of the read model: one is shown, and another may be under construction.

    The state of a SKU and the sequence of the last event applied to it change together. Any method may raise
    StoreUnavailableError. Every method may be called again after that: a repeat does no harm.
    """

    def current(self) -> int | None:
        """Return the generation that is shown; None if there is none."""

    def incarnation(self) -> str:
        """Return an id that changes whenever the store is restarted. A restart may lose the last writes."""

    def apply(self, events: Sequence[ProjectedEvent]) -> Mapping[int, set[str]]:
        """Apply live events to the generation shown, and to those SKUs of the one under construction that are loaded.

        An event that was applied before is ignored.

        Returns:
            For each generation, the SKUs that miss events before these.

        Raises:
            GenerationMissingError: None is shown.
        """

    def begin(self, *, takeover: bool) -> int:
        """Return a new generation to build. It is closed after some seconds, unless `kept_open` keeps it open.

        Args:
            takeover: Whether to close a generation that another process is building.

        Raises:
            StoreUnavailableError: Another process is building one, and `takeover` is false.
        """

    def kept_open(self, generation: int) -> AbstractContextManager[None]:
        """Keep a generation open until the block ends, unless another process takes over.

        At the end it is closed, unless it is shown.
        """

    def sequences(self, generation: int, skus: Collection[str] | None = None) -> Mapping[str, int]:
        """Return the sequence of the last event applied, for each of these SKUs, or for all."""

    def write(self, generation: int, events: Sequence[ProjectedEvent]) -> None:
        """Apply past events to one generation, those of each SKU in order.

        Raises:
            GenerationClosedError: Another generation has replaced this one.
        """

    def put_lines(self, generation: int, lines: Iterable[LineView]) -> None:
        """Write lines in the state after their `sequence`. A line with a later state is left as it is.

        Raises:
            GenerationClosedError: As `write`.
        """

    def put_stock(self, generation: int, sku: str, sequence: int, batches: Sequence[BatchView]) -> None:
        """Write the batches of a SKU in the state after `sequence`. A SKU with a later sequence is left as it is.

        Raises:
            GenerationClosedError: As `write`.
        """

    def put_rejections(self, generation: int | None, rejections: Iterable[RejectionView]) -> None:
        """Write rejections to one generation; if None, to the one shown and the one under construction.

        A later rejection is left as it is. Rejections are kept for `history_days`.
        """

    def switch(self, generation: int) -> set[str]:
        """Show this generation, if no SKU in it is behind the generation shown now.

        Returns:
            SKUs that are behind, perhaps only the first of them. If there are any, nothing has changed.

        Raises:
            GenerationClosedError: As `write`.
        """

    def forget_old(self) -> None:
        """Delete the generations before the one shown."""

    def leave_sign_of_life(self) -> None:
        """Note the time: readers can tell by it how old the read model is."""

    def last_sign_of_life(self) -> datetime | None:
        """Return the time that was noted last; None if there is none, or the store has lost it."""


class WriteModel(Protocol):
    """The write model and its history at one moment. Any method may raise StoreUnavailableError."""

    def sequences(self, skus: Collection[str] | None = None) -> Mapping[str, int]:
        """Return the sequence of the latest event, for each of these SKUs, or for all."""

    def restored_at(self) -> int:
        """Return the sequence that all products had after the last restored backup; 0 if there was none.

        A product that is not there goes on from it, too.
        """

    def events_after(self, sequences: Mapping[str, int]) -> Iterator[ProjectedEvent]:
        """Yield the stored events of these SKUs after the given sequences, by SKU, in order."""

    def lines(self, skus: Collection[str]) -> Iterator[LineView]:
        """Yield all lines of these SKUs."""

    def batches(self, skus: Collection[str]) -> Iterator[BatchView]:
        """Yield all batches of these SKUs, by SKU."""

    def rejections(self, since: datetime | None) -> Iterator[RejectionView]:
        """Yield the rejections of commands about orders since then, or all that are stored, in order."""


class OpenWriteModel(Protocol):
    """Opens the write model as it is now."""

    def __call__(self) -> AbstractContextManager[WriteModel]: ...
