"""Draws the commands of the upstream programs at random, reproducibly by seed."""

import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import allocation_contracts as contracts

SKUS = 300
HOT_SKUS = 4
REMEMBERED = 5000
_SOON = date(2031, 1, 1)


def stock(seed: int) -> Iterator[contracts.Command]:
    """Return the initial batches of every SKU: one in the warehouse, one at sea."""
    rng = random.Random(f"{seed}/stock")
    for number in range(SKUS):
        sku = _name(number)
        plenty = 50 if number < HOT_SKUS else 1
        yield contracts.CreateBatch(batchref=f"{sku}/shelf", sku=sku, qty=plenty * rng.randint(20, 100))
        eta = _SOON + timedelta(days=rng.randrange(300))
        yield contracts.CreateBatch(batchref=f"{sku}/ship", sku=sku, qty=plenty * rng.randint(20, 100), eta=eta)


class Orders:
    """An endless stream of commands, most of them new order lines."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}/orders")
        self._lines: list[contracts.Allocate] = []
        self._batches = [f"{_name(number)}/{kind}" for number in range(SKUS) for kind in ("shelf", "ship")]
        self._count = 0
        kinds: dict[Callable[[], contracts.Command], int] = {
            self._new_line: 820,
            self._cancel: 50,
            self._ship: 40,
            self._again: 50,
            self._change: 40,
            self._change_eta: 20,
            self._new_batch: 30,
            self._unknown_sku: 5,
            self._unknown_batch: 5,
        }
        self._kinds = (list(kinds), list(kinds.values()))

    def next(self) -> contracts.Command:
        """Return the next command."""
        self._count += 1
        [make] = self._rng.choices(*self._kinds)
        return make()

    def _cancel(self) -> contracts.Command:
        if not self._lines:
            return self._new_line()
        line = self._lines.pop(self._rng.randrange(len(self._lines)))
        return contracts.Deallocate(orderid=line.orderid, sku=line.sku, lineid=line.lineid)

    def _ship(self) -> contracts.Command:
        if not self._lines:
            return self._new_line()
        line = self._rng.choice(self._lines)
        return contracts.Ship(orderid=line.orderid, sku=line.sku, lineid=line.lineid)

    def _change_eta(self) -> contracts.Command:
        eta = None if self._rng.random() < 0.3 else _SOON + timedelta(days=self._rng.randrange(300))
        return contracts.ChangeBatchEta(batchref=self._rng.choice(self._batches), eta=eta)

    def _again(self) -> contracts.Command:
        return self._rng.choice(self._lines) if self._lines else self._new_line()

    def _change(self) -> contracts.Command:
        return contracts.ChangeBatchQuantity(batchref=self._rng.choice(self._batches), qty=self._rng.randrange(200))

    def _unknown_sku(self) -> contracts.Command:
        return contracts.Allocate(orderid=f"order-{self._count}", sku="NEVER-STOCKED", qty=1)

    def _unknown_batch(self) -> contracts.Command:
        return contracts.ChangeBatchQuantity(batchref=f"no-batch-{self._count}", qty=1)

    def _new_line(self) -> contracts.Allocate:
        hot = self._rng.random() < 0.3
        sku = _name(self._rng.randrange(HOT_SKUS if hot else SKUS))
        waits = self._rng.random() < 0.2
        line = contracts.Allocate(
            orderid=f"order-{self._count}",
            sku=sku,
            qty=self._rng.randint(1, 5),
            wait=waits,
            priority=self._rng.choice([0, 0, 5]) if waits else 0,
            needed_by=_SOON + timedelta(days=self._rng.randrange(300)) if self._rng.random() < 0.1 else None,
        )
        self._lines.append(line)
        del self._lines[:-REMEMBERED]
        return line

    def _new_batch(self) -> contracts.CreateBatch:
        hot = self._rng.random() < 0.3
        sku = _name(self._rng.randrange(HOT_SKUS if hot else SKUS))
        reference = f"{sku}/{self._count}"
        self._batches.append(reference)
        eta = None if self._rng.random() < 0.3 else _SOON + timedelta(days=self._rng.randrange(300))
        return contracts.CreateBatch(batchref=reference, sku=sku, qty=self._rng.randint(20, 300), eta=eta)


POISON = (
    b"",
    b"{",
    b"[]",
    b'{"orderid": "o", "sku": "S", "qty": NaN}',
    b'{"orderid": "o", "sku": "S", "qty": 0}',
    b'{"orderid": "o", "orderid": "p", "sku": "S", "qty": 1}',
    "{}".encode("utf-16"),
    b"\xff\xfe\xfa",
)
"""Bodies that break the contract of `allocate.v1`."""


def _name(number: int) -> str:
    return f"SKU-{number:04}"
