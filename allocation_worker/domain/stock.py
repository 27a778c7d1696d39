"""The batches of a product, and which of them is for a line."""

from bisect import insort
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from allocation_worker.domain.lines import Terms


@dataclass(slots=True)
class Batch:
    """Stock that was purchased at one time.

    Attributes:
        arrival: The batch's number among those of its SKU, in the order of creation.
        created_qty: The quantity at creation. With `created_eta` and `sequence` the batch can be announced again
            unchanged.
        created_eta: The ETA at creation.
        sequence: The `sequence` of the event that announced the batch.
        shipped_quantity: The part of `allocated_quantity` that was shipped.
    """

    reference: str
    sku: str
    purchased_quantity: int
    eta: date | None
    arrival: int
    created_qty: int
    created_eta: date | None
    sequence: int
    allocated_quantity: int = 0
    shipped_quantity: int = 0

    @property
    def available_quantity(self) -> int:
        return self.purchased_quantity - self.allocated_quantity

    def preference(self) -> tuple[bool, date, int]:
        """Return the sort key: batches in the warehouse first, then the earliest ETA, then the order of creation."""
        return (self.eta is not None, self.eta or date.min, self.arrival)


class Shortage(NamedTuple):
    """What is left where no batch can take a line.

    Attributes:
        largest_available: As of OutOfStock.
        next_eta: As of OutOfStock.
    """

    largest_available: int
    next_eta: date | None


class Stock:
    """The batches of a product, in order of preference."""

    __slots__ = ("_batches",)

    def __init__(self) -> None:
        self._batches: list[Batch] = []

    def add(self, batch: Batch) -> None:
        insort(self._batches, batch, key=Batch.preference)

    def change_eta(self, batch: Batch, eta: date | None) -> None:
        """Set the ETA of one of the batches."""
        self._batches.remove(batch)
        batch.eta = eta
        self.add(batch)

    @property
    def largest_available(self) -> int:
        """The largest quantity that one batch could give."""
        return max((batch.available_quantity for batch in self._batches), default=0)

    def batch_for(self, qty: int, terms: Terms) -> Batch | None:
        """Return the preferred batch that can take a line, if any."""
        for batch in self._batches if terms.needed_by is None else self._allowed(terms):
            # Not `available_quantity`: a property costs a call, and this is the innermost loop.
            if batch.purchased_quantity - batch.allocated_quantity >= qty:
                return batch
        return None

    def shortage(self, terms: Terms) -> Shortage:
        """Return what to tell of the stock to a line that no batch can take."""
        in_stock = [batch for batch in self._allowed(terms) if batch.available_quantity > 0]
        largest = max(in_stock, key=lambda batch: batch.available_quantity, default=None)
        return Shortage(
            largest_available=largest.available_quantity if largest else 0,
            next_eta=next((batch.eta for batch in in_stock if batch.eta and batch is not largest), None),
        )

    def _allowed(self, terms: Terms) -> list[Batch]:
        return [batch for batch in self._batches if terms.allow(batch.eta)]
