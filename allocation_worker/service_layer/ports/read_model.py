"""The read model: what it shows, and the two stores between which it is kept.

It may be behind the write model, and never contradicts it: each SKU stands as it did after one of its events.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import Literal, NamedTuple, Protocol

from allocation_worker.domain.events import ProductEvent
from allocation_worker.service_layer.ports.errors import StoreUnavailableError

LineStatus = Literal["allocated", "out-of-stock", "cancelled"]


class LineView(NamedTuple):
    """An order line. `batchref` and `eta` are those of the batch that it holds `qty` of, if any."""

    orderid: str
    sku: str
    lineid: str
    status: LineStatus
    qty: int
    batchref: str | None
    eta: date | None
    sequence: int


class BatchView(NamedTuple):
    """A batch. `sequence` is that of the event that announced it: batches of a SKU arrived in its order."""

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
        """As the domain's: the warehouse first, then the earliest ETA, then the order of arrival."""
        return (self.eta is not None, self.eta or date.min, self.sequence)


class SkuView(NamedTuple):
    """A SKU after the event `sequence`; its batches stand in the order in which they are used."""

    sku: str
    sequence: int
    batches: tuple[BatchView, ...]


class GenerationMissingError(StoreUnavailableError):
    """There is no read model: none was built yet, or its store has lost it."""


class CountedEvent(NamedTuple):
    """An event of a SKU, of a type that this version does not know: it only moves the SKU's sequence."""

    sku: str
    sequence: int


ProjectedEvent = ProductEvent | CountedEvent
"""What the read model applies."""


class GenerationClosedError(StoreUnavailableError):
    """This generation is neither shown nor being built any more: another one took its place."""


class ReadModel(Protocol):
    """Keeps generations of the read model: one is shown, one more may be being built.

    Of each SKU it knows the sequence of the last event applied, and moves the two together. Any method may raise
    StoreUnavailableError; what it did not do can be done again, and what it did is harmless to repeat.
    """

    def current(self) -> int | None:
        """The generation that is shown."""

    def incarnation(self) -> str:
        """Another one each time that the store was started, which it may have been without its last writes."""

    def apply(self, events: Sequence[ProjectedEvent]) -> Mapping[int, set[str]]:
        """Apply live events to the generation shown, and to the one being built as far as that is loaded.

        An event applied before is ignored. The answer tells the SKUs, by generation, where events are missing before
        these.

        Raises:
            GenerationMissingError: None is shown.
        """

    def begin(self, *, takeover: bool) -> int:
        """A fresh generation, being built from now on, for some seconds unless it is kept open.

        One that someone else is building is closed; without `takeover` that is StoreUnavailableError.
        """

    def kept_open(self, generation: int) -> AbstractContextManager[None]:
        """Inside, the generation stays open, unless someone takes over; afterwards it is closed, or shown."""

    def sequences(self, generation: int, skus: Collection[str] | None = None) -> Mapping[str, int]:
        """The sequences of the last events applied to these SKUs, or to all."""

    def write(self, generation: int, events: Sequence[ProjectedEvent]) -> None:
        """Apply events of the past, each SKU's in order; as `apply` for one generation.

        Raises:
            GenerationClosedError: It is not this generation's time any more.
        """

    def put_lines(self, generation: int, lines: Iterable[LineView]) -> None:
        """Write lines as they are after their own `sequence`, unless a later state of them is known.

        Raises:
            GenerationClosedError: As `write`.
        """

    def put_stock(self, generation: int, sku: str, sequence: int, batches: Sequence[BatchView]) -> None:
        """Write the batches of a SKU as they are after `sequence`, which becomes its last, unless a later one is.

        Raises:
            GenerationClosedError: As `write`.
        """

    def switch(self, generation: int) -> set[str]:
        """Show this generation, unless some SKUs are behind those shown now: these come back (or the first of them).

        Raises:
            GenerationClosedError: As `write`.
        """

    def forget_old(self) -> None:
        """Delete the generations before the one shown."""


class WriteModel(Protocol):
    """The write model and its history, as they stood at one moment. Any method may raise StoreUnavailableError."""

    def sequences(self, skus: Collection[str] | None = None) -> Mapping[str, int]:
        """How many events these SKUs have had, or all."""

    def events_after(self, sequences: Mapping[str, int]) -> Iterator[ProjectedEvent]:
        """The events of these SKUs that follow their sequences, as far as the history is kept; by SKU, in order."""

    def lines(self, skus: Collection[str]) -> Iterator[LineView]:
        """All lines of these SKUs."""

    def batches(self, skus: Collection[str]) -> Iterator[BatchView]:
        """All batches of these SKUs, by SKU."""


class OpenWriteModel(Protocol):
    """Opens the write model at the present moment."""

    def __call__(self) -> AbstractContextManager[WriteModel]: ...
