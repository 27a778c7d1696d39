"""The state of the shop, as a subscriber projects it from the events. Events may arrive twice."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

import allocation_contracts as contracts
from harness.checker.messages import ReceivedEvent

Line = tuple[str, str, str]
"""(orderid, sku, lineid)"""

_REMEMBERED = 50


@dataclass(slots=True, kw_only=True)
class ShopBatch:
    """A batch, as the events describe it.

    Attributes:
        lost: The difference from its largest quantity.
    """

    ref: str
    sku: str
    eta: date | None
    purchased: int
    allocated: int = 0
    lost: int = 0

    @property
    def available(self) -> int:
        return self.purchased - self.allocated


@dataclass(slots=True)
class Shop:
    """The state of the shop after the events so far.

    Attributes:
        batches: The batches by reference, in the order of their creation.
        held: The batch and the quantity that each line holds that was not shipped.
        waiting: The quantity of each line that waits.
        waited: The number of lines that have waited, or wait.
        told: The number of times that a line was told another date.
        caused: The message_ids of the answered commands.
        latest: The last events, oldest first.
        largest: The largest quantity that any batch ever had.
    """

    batches: dict[str, ShopBatch] = field(default_factory=dict)
    held: dict[Line, tuple[str, int]] = field(default_factory=dict)
    caused: set[str] = field(default_factory=set)
    latest: deque[contracts.Event] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    largest: int = 1
    waiting: dict[Line, int] = field(default_factory=dict)
    waited: int = 0
    told: int = 0
    _seen: set[str] = field(default_factory=set)
    _adrift: set[Line] = field(default_factory=set)

    @property
    def settled(self) -> bool:
        """Whether no batch holds more than it has, no line waits for what there is, and each line was told what it has.

        Some commands cause several events; in between, the shop is not settled.
        """
        return (
            not self._adrift
            and all(stock.available >= 0 for stock in self.batches.values())
            and all(qty > self.largest_available(sku) for (_, sku, _), qty in self.waiting.items())
        )

    def take(self, received: ReceivedEvent) -> None:
        """Apply the next event. A repeated event changes only `caused`."""
        self.caused.add(received.causation_id)
        if received.message_id in self._seen:
            return
        self._seen.add(received.message_id)
        event = contracts.read_event(received.type, received.body)
        self.latest.append(event)
        self._apply(event)

    def of(self, sku: str) -> list[ShopBatch]:
        """Return the batches of a SKU in order of preference: the warehouse first, then by ETA."""
        mine = [stock for stock in self.batches.values() if stock.sku == sku]
        return sorted(mine, key=lambda stock: (stock.eta is not None, stock.eta or date.min))

    def skus(self) -> list[str]:
        """Return the SKUs in order of their first event."""
        return list(dict.fromkeys(stock.sku for stock in self.batches.values()))

    def largest_available(self, sku: str) -> int:
        """Return the largest available quantity of one batch of this SKU."""
        return max((stock.available for stock in self.of(sku)), default=0)

    def fullest_ship(self, sku: str) -> ShopBatch:
        """Return the batch at sea with the largest allocated quantity.

        Raises:
            ValueError: None of this SKU is at sea.
        """
        return max((stock for stock in self.of(sku) if stock.eta), key=lambda stock: stock.allocated)

    def lines_of(self, reference: str) -> set[Line]:
        """Return the lines that hold stock of a batch and were not shipped."""
        return {line for line, (batchref, _) in self.held.items() if batchref == reference}

    def _apply(self, event: contracts.Event) -> None:  # noqa: C901 - one for each event
        match event:
            case contracts.BatchCreated():
                self.batches[event.batchref] = ShopBatch(
                    ref=event.batchref, sku=event.sku, eta=event.eta, purchased=event.qty
                )
                self.largest = max(self.largest, event.qty)
            case contracts.BatchQuantityChanged():
                stock = self.batches[event.batchref]
                stock.lost = max(0, stock.lost + stock.purchased - event.qty)
                stock.purchased = event.qty
                self.largest = max(self.largest, event.qty)
            case contracts.BatchEtaChanged():
                self.batches[event.batchref].eta = event.eta
                if event.eta != event.previous_eta:
                    self._adrift |= self.lines_of(event.batchref)
            case contracts.PromiseChanged():
                self._adrift.discard((event.orderid, event.sku, event.lineid))
                self.told += 1
            case contracts.Shipped():
                self.held.pop((event.orderid, event.sku, event.lineid), None)
            case contracts.Allocated():
                self._allocated(event)
            case contracts.Deallocated():
                self._deallocated(event)
            case contracts.OutOfStock():
                self._adrift.discard((event.orderid, event.sku, event.lineid))
            case contracts.Backordered():
                self._adrift.discard((event.orderid, event.sku, event.lineid))
                self.waiting[event.orderid, event.sku, event.lineid] = event.qty
                self.waited += 1

    def _allocated(self, event: contracts.Allocated) -> None:
        line = (event.orderid, event.sku, event.lineid)
        self._adrift.discard(line)
        self.waiting.pop(line, None)
        self.held[line] = (event.batchref, event.qty)
        self.batches[event.batchref].allocated += event.qty

    def _deallocated(self, event: contracts.Deallocated) -> None:
        line = (event.orderid, event.sku, event.lineid)
        self.held.pop(line, None)
        self.waiting.pop(line, None)
        if event.batchref is not None:
            self.batches[event.batchref].allocated -= event.qty
        if event.reason != "cancelled":
            self._adrift.add(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """The effect of a shrink on the lines of a batch.

    Attributes:
        taken_off: The number of lines that lost their stock.
        to: The number of these lines that each other batch took.
        stranded: The number of these lines without new stock.
    """

    taken_off: int
    to: Counter[str]
    stranded: int


def moves_in(events: Iterable[ReceivedEvent]) -> Moves:
    """Count the moves in the events that one `change-batch-quantity` has caused."""
    once = {event.message_id: event for event in events}.values()
    types = Counter(event.type for event in once)
    return Moves(
        taken_off=types[contracts.Deallocated.TYPE],
        to=Counter(event.data["batchref"] for event in once if event.type == contracts.Allocated.TYPE),
        stranded=types[contracts.OutOfStock.TYPE] + types[contracts.Backordered.TYPE],
    )
