"""A second implementation of the domain rules, from the wire contract alone. It checks each event after the others."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import allocation_contracts as contracts

LineKey = tuple[str, str, str]
"""(orderid, sku, lineid)."""


@dataclass(slots=True)
class BatchState:
    """A batch, as the events describe it.

    Attributes:
        sku: The SKU.
        purchased: The purchased quantity.
        allocated: The allocated quantity.
        eta: The ETA as `YYYY-MM-DD`; None for stock in the warehouse.
        lines: The lines that hold its stock, in order of allocation.
    """

    sku: str
    purchased: int
    allocated: int = 0
    eta: str | None = None
    lines: dict[LineKey, None] = field(default_factory=dict, compare=False)

    @property
    def available(self) -> int:
        return self.purchased - self.allocated

    @property
    def preference(self) -> str:
        """The sort key: warehouse stock first, then by ETA. Equal batches keep their order of arrival."""
        return self.eta or ""


class Replay:
    """Applies the events of all SKUs, each once, and each SKU's in order of sequence.

    Args:
        fault: Called with a sentence for each violation of the rules.
    """

    def __init__(self, fault: Callable[[str], None]) -> None:
        self.batches: dict[str, BatchState] = {}
        self.lines: dict[LineKey, tuple[str, int]] = {}
        """The batch and the quantity that each line holds."""
        self._fault = fault
        self._of_sku: defaultdict[str, list[BatchState]] = defaultdict(list)

    def apply(self, type_: str, data: Mapping[str, Any]) -> None:
        """Apply the next event."""
        match type_:
            case contracts.BatchCreated.TYPE:
                self._batch_created(data)
            case contracts.BatchQuantityChanged.TYPE:
                self._quantity_changed(data)
            case contracts.Allocated.TYPE:
                self._allocated(data)
            case contracts.Deallocated.TYPE:
                self._deallocated(data)
            case contracts.OutOfStock.TYPE:
                self._out_of_stock(data)

    def end(self) -> None:
        """Check the final state, after the last event."""
        for reference, batch in self.batches.items():
            if batch.allocated > batch.purchased:
                self._fault(f"Batch {reference} is oversold: {batch.allocated} of {batch.purchased}.")

    def _batch_created(self, data: Mapping[str, Any]) -> None:
        reference = data["batchref"]
        if reference in self.batches:
            self._fault(f"Batch {reference} was created twice.")
            return
        batch = BatchState(data["sku"], data["qty"], eta=data["eta"])
        self.batches[reference] = batch
        self._of_sku[batch.sku].append(batch)
        # The sort is stable, so equal batches keep their order of arrival.
        self._of_sku[batch.sku].sort(key=lambda known: known.preference)

    def _quantity_changed(self, data: Mapping[str, Any]) -> None:
        batch = self.batches.get(data["batchref"])
        if batch is None:
            self._fault(f"Batch {data['batchref']} was changed and never created.")
            return
        if batch.purchased != data["previous_qty"]:
            self._fault(f"Batch {data['batchref']} had {batch.purchased}, not {data['previous_qty']}.")
        batch.purchased = data["qty"]

    def _allocated(self, data: Mapping[str, Any]) -> None:
        line = (data["orderid"], data["sku"], data["lineid"])
        batch = self.batches.get(data["batchref"])
        if batch is None:
            self._fault(f"Line {line} was allocated to batch {data['batchref']}, which was never created.")
            return
        if line in self.lines:
            self._fault(f"Line {line} was allocated while it held stock of {self.lines[line][0]}.")
        if batch is not self._best(data["sku"], data["qty"]):
            self._fault(f"Line {line} got stock of batch {data['batchref']}, which was not its turn.")
        self.lines[line] = (data["batchref"], data["qty"])
        batch.lines[line] = None
        batch.allocated += data["qty"]
        if batch.allocated > batch.purchased or batch.sku != data["sku"]:
            self._fault(f"Batch {data['batchref']} was oversold by {line}: {batch.allocated} of {batch.purchased}.")

    def _deallocated(self, data: Mapping[str, Any]) -> None:
        line = (data["orderid"], data["sku"], data["lineid"])
        held = self.lines.pop(line, None)
        freed = None if data["batchref"] is None else (data["batchref"], data["qty"])
        if held != freed:
            self._fault(f"Line {line} held {held}, and {freed} was taken off it.")
        if held is None:
            return
        batch = self.batches[held[0]]
        if data["reason"] == "batch-quantity-changed":
            if batch.allocated <= batch.purchased:
                self._fault(f"Line {line} was taken off batch {held[0]}, which had enough.")
            if line != next(reversed(batch.lines)):
                self._fault(f"Line {line} was taken off batch {held[0]} before one that got its stock later.")
        batch.lines.pop(line, None)
        batch.allocated -= held[1]

    def _out_of_stock(self, data: Mapping[str, Any]) -> None:
        line = (data["orderid"], data["sku"], data["lineid"])
        if self._best(data["sku"], data["qty"]):
            self._fault(f"Line {line} is out of stock, and a batch could take it.")
        available = [batch for batch in self._of_sku[data["sku"]] if batch.available > 0]
        told = (data["largest_available"], data["next_eta"])
        # Of several that are as large, the first counts as the largest. The others keep their order, which is by ETA.
        largest = max(available, key=lambda batch: batch.available, default=None)
        true = (
            largest.available if largest else 0,
            next((batch.eta for batch in available if batch.eta and batch is not largest), None),
        )
        if told != true:
            self._fault(f"Line {line} was told {told} of the largest batch and the next ETA, where it is {true}.")

    def _best(self, sku: str, qty: int) -> BatchState | None:
        return next((batch for batch in self._of_sku[sku] if batch.available >= qty), None)
