"""What the checker knows of batches and lines, from the events."""

from dataclasses import dataclass, field
from typing import NamedTuple

import allocation_contracts as contracts

PLACED = frozenset({contracts.Allocated.TYPE, contracts.OutOfStock.TYPE, contracts.Backordered.TYPE})
"""The events that answer a line that looks for stock."""

LineKey = tuple[str, str, str]
"""(orderid, sku, lineid)."""

Place = tuple[int, LineKey]
"""The sequence of the first event that answered a line, and the line."""


@dataclass(slots=True)
class BatchState:
    """A batch, as the events describe it.

    Attributes:
        sku: The SKU.
        purchased: The purchased quantity.
        allocated: The allocated quantity.
        arrival: Its number among the batches of its SKU.
        shipped: How much of the allocated quantity was shipped.
        eta: The ETA as `YYYY-MM-DD`; None for stock in the warehouse.
        created: The SKU, the quantity and the ETA at creation.
        lines: The lines that were allocated and not shipped, by their places, in order.
        held: The lines for which its stock is only held, by their places, in order.
    """

    sku: str
    purchased: int
    allocated: int = 0
    arrival: int = 0
    shipped: int = 0
    eta: str | None = None
    created: tuple[str, int, str | None] | None = field(default=None, compare=False)
    lines: list[Place] = field(default_factory=list, compare=False)
    held: list[Place] = field(default_factory=list, compare=False)

    @property
    def available(self) -> int:
        return self.purchased - self.allocated

    @property
    def preference(self) -> tuple[str, int]:
        """The sort key: warehouse stock first, then by ETA, then in the order of arrival."""
        return self.eta or "", self.arrival

    def serves(self, needed_by: str | None) -> bool:
        """Return whether the batch is there on this day."""
        return not self.eta or needed_by is None or self.eta <= needed_by


class AskedFor(NamedTuple):
    """What was asked for a line: its priority, the day by which it is needed as `YYYY-MM-DD`, whether it waits."""

    priority: int = 0
    needed_by: str | None = None
    wait: bool = False


PLAIN = AskedFor()


class LineState(NamedTuple):
    """A line that holds stock or waits for it.

    Attributes:
        status: `allocated`, `held`, `shipped` or `waiting`.
        batchref: The batch; None if it waits.
        qty: The quantity.
    """

    status: str
    batchref: str | None
    qty: int


class HoldState(NamedTuple):
    """Until when stock is held for a line, and the message_id of the command that asked for it."""

    until: str
    cause: str


class Backorder(NamedTuple):
    """A line that waits for stock. The smallest turn is served first."""

    turn: tuple[int, int]
    line: LineKey
    qty: int
    needed_by: str | None


class PushedOff(NamedTuple):
    """A line whose batch shrank, and the batch and the quantity that were held for it."""

    line: LineKey
    held: tuple[str, int]


class ToTellAgain(NamedTuple):
    """The ETA of a batch before it changed, and the lines that have to be told, by their places."""

    previous_eta: str | None
    lines: list[Place]
