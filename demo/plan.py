"""Draws the batches and orders of the day, reproducibly by seed."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from allocation_contracts import Allocate, CreateBatch

CHAIR, TABLE, VASE, LAMP = "RED-CHAIR", "SMALL-TABLE", "BLUE-VASE", "TASTELESS-LAMP"

_POPULARITY = {CHAIR: 5, TABLE: 3, VASE: 3, LAMP: 2}
_QUANTITIES = (1, 1, 1, 2, 2, 3, 4, 6)
_SECOND_LINE, _SAME_SKU = 0.2, 0.25
"""How many orders have a second line, and how many of those are of the SKU of the first, as real ones are."""

_SHIPS = {"argo": timedelta(days=9), "beagle": timedelta(days=23), "calypso": timedelta(days=40)}
_GOODS = {CHAIR: "chairs", TABLE: "tables", VASE: "vases", LAMP: "lamps"}

_SUPPLY = (
    # The chairs that do not fit into the warehouse all fit on the Argo, and when she shrinks, on the Beagle.
    (CHAIR, "warehouse", 0.3, 0),
    (CHAIR, "argo", 1.0, 0),
    (CHAIR, "beagle", 0.6, 10),
    (TABLE, "warehouse", 0.6, 2),
    (TABLE, "beagle", 0.7, 6),
    (VASE, "warehouse", 0.5, 2),
    (VASE, "argo", 0.8, 6),
    (LAMP, "warehouse", 0.5, 2),
    (LAMP, "argo", 0.9, 6),
)
"""SKU, location, share of the day's demand, and extra pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The commands of a day, in order.

    Attributes:
        batches: The batches in the warehouse and at sea.
        lines: The order lines. An order may have two.
        orders: The number of orders.
    """

    batches: tuple[CreateBatch, ...]
    lines: tuple[Allocate, ...]
    orders: int


def plan_day(orders: int, *, today: date, seed: int = 1) -> Day:
    """Draw a day.

    Args:
        orders: The number of orders, at least one.
        today: The date. The ships arrive some days later.
        seed: The seed. The same seed gives the same day.
    """
    lines = tuple(_draw_lines(orders, random.Random(seed)))
    demand: Counter[str] = Counter()
    for line in lines:
        demand[line.sku] += line.qty
    batches = tuple(
        batch_of(sku, where, qty=max(1, int(share * demand[sku])) + more, today=today)
        for sku, where, share, more in _SUPPLY
    )
    return Day(batches=batches, lines=lines, orders=orders)


def batch_of(sku: str, where: str, *, qty: int, today: date) -> CreateBatch:
    """Return a batch in the `warehouse`, or on the ship of that name."""
    eta = today + _SHIPS[where] if where in _SHIPS else None
    return CreateBatch(batchref=f"{where}-{_GOODS[sku]}", sku=sku, qty=qty, eta=eta)


def _draw_lines(orders: int, dice: random.Random) -> Iterator[Allocate]:
    skus, weights = list(_POPULARITY), list(_POPULARITY.values())
    yield Allocate(orderid="order-0001", sku=CHAIR, qty=4)  # the one that will be cancelled
    for number in range(2, orders + 1):
        orderid = f"order-{number:04}"
        sku = dice.choices(skus, weights)[0]
        yield Allocate(orderid=orderid, sku=sku, qty=dice.choice(_QUANTITIES))
        if dice.random() < _SECOND_LINE:
            other = sku if dice.random() < _SAME_SKU else dice.choice([one for one in skus if one != sku])
            lineid = "2" if other == sku else ""
            yield Allocate(orderid=orderid, sku=other, qty=dice.choice(_QUANTITIES), lineid=lineid)
