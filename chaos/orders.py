"""Draws the commands of the upstream programs at random, reproducibly by seed."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import allocation_contracts as contracts

SKUS = 300
HOT_SKUS = 4
REMEMBERED = 5000
RECENT = 100
"""Holds that are prolonged, confirmed or given back, so that many of them have not lapsed yet."""
LONG_HOLD = timedelta(hours=20)
"""A hold that does not lapse before the campaign is judged."""
_SOON = date(2031, 1, 1)


def stock(seed: int) -> Iterator[contracts.Command]:
    """Return the initial batches of every SKU: one in the warehouse, one at sea."""
    rng = random.Random(f"{seed}/stock")
    for number in range(SKUS):
        sku = _name(number)
        plenty = 30 if number < HOT_SKUS else 1
        yield contracts.CreateBatch(batchref=f"{sku}/shelf", sku=sku, qty=plenty * rng.randint(5, 40))
        eta = _SOON + timedelta(days=rng.randrange(300))
        yield contracts.CreateBatch(batchref=f"{sku}/ship", sku=sku, qty=plenty * rng.randint(5, 40), eta=eta)


class Orders:
    """An endless stream of commands, most of them new order lines.

    Args:
        seed: The seed. The same seed gives the same commands, but for the times until which stock is held.
        now: Tells the time.
    """

    def __init__(self, seed: int, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._rng = random.Random(f"{seed}/orders")
        self._now = now
        self._lines: list[contracts.Allocate] = []
        self._baskets: list[contracts.Hold] = []
        self._batches = [f"{_name(number)}/{kind}" for number in range(SKUS) for kind in ("shelf", "ship")]
        self._created: list[contracts.CreateBatch] = []
        self._count = 0
        kinds: dict[Callable[[], contracts.Command], int] = {
            self._new_line: 610,
            self._cancel: 50,
            self._ship: 40,
            self._again: 50,
            self._again_otherwise: 20,
            self._change_line: 60,
            self._hold: 80,
            self._hold_line: 10,
            self._prolong: 25,
            self._confirm: 25,
            self._give_back: 10,
            self._change: 40,
            self._change_eta: 20,
            self._create_again: 5,
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

    def _again_otherwise(self) -> contracts.Command:
        """Ask for a line again in another quantity, or as one that waits, or no longer does."""
        if not self._lines:
            return self._new_line()
        line = self._rng.choice(self._lines)
        if self._rng.random() < 0.5:
            return line.model_copy(update={"wait": not line.wait, "priority": 0})
        return line.model_copy(update={"qty": self._rng.randint(1, 6)})

    def _change_line(self) -> contracts.Command:
        if not self._lines:
            return self._new_line()
        number = self._rng.randrange(len(self._lines))
        line = self._lines[number]
        qty = self._rng.choice([1, 2, 3, 4, 5, 6, 8, 30, 400])
        from_qty = self._rng.choice([None, None, line.qty, line.qty, line.qty + 1])
        if qty < 10 and from_qty in {None, line.qty}:
            self._lines[number] = line.model_copy(update={"qty": qty})
        return contracts.ChangeLineQuantity(
            orderid=line.orderid, sku=line.sku, lineid=line.lineid, qty=qty, from_qty=from_qty
        )

    def _hold(self) -> contracts.Command:
        basket = contracts.Hold(
            orderid=f"order-{self._count}", sku=self._sku(), qty=self._rng.randint(1, 5), until=self._until()
        )
        self._baskets.append(basket)
        del self._baskets[:-REMEMBERED]
        return basket

    def _hold_line(self) -> contracts.Command:
        """Hold stock for a line that was ordered before, shipped or cancelled ones among them."""
        if not self._lines:
            return self._hold()
        line = self._rng.choice(self._lines)
        return contracts.Hold(orderid=line.orderid, sku=line.sku, lineid=line.lineid, qty=line.qty, until=self._until())

    def _prolong(self) -> contracts.Command:
        """Hold again: for longer or not as long, and sometimes in another quantity."""
        if not self._baskets:
            return self._hold()
        number = self._rng.randrange(max(0, len(self._baskets) - RECENT), len(self._baskets))
        update: dict[str, object] = {"until": self._until()}
        if self._rng.random() < 0.5:
            update["qty"] = self._rng.choice([1, 2, 3, 4, 5, 6, 40])
        held_again = self._baskets[number].model_copy(update=update)
        self._baskets[number] = held_again
        return held_again

    def _confirm(self) -> contracts.Command:
        """Order a line for which stock was held: while it still is, or when that has lapsed."""
        if not self._baskets:
            return self._hold()
        basket = self._take_basket()
        waits = self._rng.random() < 0.3
        line = contracts.Allocate(
            orderid=basket.orderid,
            sku=basket.sku,
            qty=basket.qty if self._rng.random() < 0.9 else basket.qty + 1,
            wait=waits,
            needed_by=_SOON + timedelta(days=self._rng.randrange(300)) if self._rng.random() < 0.2 else None,
        )
        self._lines.append(line)
        return line

    def _give_back(self) -> contracts.Command:
        if not self._baskets:
            return self._hold()
        basket = self._take_basket()
        return contracts.Deallocate(orderid=basket.orderid, sku=basket.sku, lineid=basket.lineid)

    def _take_basket(self) -> contracts.Hold:
        return self._baskets.pop(self._rng.randrange(max(0, len(self._baskets) - RECENT), len(self._baskets)))

    def _until(self) -> datetime:
        """Return when a hold is to lapse: soon, or after the campaign. A few have lapsed before they begin."""
        if self._rng.random() < 0.3:
            return self._now() + LONG_HOLD
        return self._now() + timedelta(seconds=self._rng.uniform(-1, 20))

    def _create_again(self) -> contracts.Command:
        return self._rng.choice(self._created) if self._created else self._new_batch()

    def _change(self) -> contracts.Command:
        # A few take off more than a thousand lines, or serve as many.
        qty = self._rng.choice([*[60] * 19, 5000])
        return contracts.ChangeBatchQuantity(batchref=self._rng.choice(self._batches), qty=self._rng.randrange(qty))

    def _unknown_sku(self) -> contracts.Command:
        return contracts.Allocate(orderid=f"order-{self._count}", sku="NEVER-STOCKED", qty=1)

    def _unknown_batch(self) -> contracts.Command:
        return contracts.ChangeBatchQuantity(batchref=f"no-batch-{self._count}", qty=1)

    def _new_line(self) -> contracts.Allocate:
        waits = self._rng.random() < 0.4
        line = contracts.Allocate(
            orderid=f"order-{self._count}",
            sku=self._sku(),
            qty=self._rng.randint(1, 5),
            wait=waits,
            priority=self._rng.choice([0, 0, 5]) if waits else 0,
            needed_by=_SOON + timedelta(days=self._rng.randrange(300)) if self._rng.random() < 0.1 else None,
        )
        self._lines.append(line)
        del self._lines[:-REMEMBERED]
        return line

    def _new_batch(self) -> contracts.CreateBatch:
        sku = self._sku()
        reference = f"{sku}/{self._count}"
        self._batches.append(reference)
        eta = None if self._rng.random() < 0.3 else _SOON + timedelta(days=self._rng.randrange(300))
        batch = contracts.CreateBatch(batchref=reference, sku=sku, qty=self._rng.randint(5, 60), eta=eta)
        self._created.append(batch)
        return batch

    def _sku(self) -> str:
        hot = self._rng.random() < 0.3
        return _name(self._rng.randrange(HOT_SKUS if hot else SKUS))


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
