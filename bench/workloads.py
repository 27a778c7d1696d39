"""The workloads: initial stock and commands, drawn at random but the same each time."""

import csv
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from uuid import UUID

from pika.spec import BasicProperties

import allocation_contracts as contracts

PLENTY = 1_000_000
MOST_ON_A_LINE = 10
_ETA = date(2030, 1, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialBatch:
    """A batch that exists when the run begins."""

    reference: str
    sku: str
    qty: int
    eta: date | None = None


@dataclass(frozen=True, slots=True)
class EncodedCommand:
    """A command, encoded for the broker."""

    routing_key: str
    properties: BasicProperties
    body: bytes

    @property
    def message_id(self) -> str:
        return self.properties.message_id or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The stock, the commands in the order queue, and the stock commands sent during the run."""

    stock: Sequence[InitialBatch]
    orders: Sequence[EncodedCommand]
    news: Sequence[EncodedCommand] = field(default=())

    @property
    def commands(self) -> int:
        return len(self.orders) + len(self.news)


def encoded(command: contracts.Command, rng: random.Random) -> EncodedCommand:
    """A command under a random id, as most senders make them; it is the harder case for an index."""
    message_id = str(UUID(int=rng.getrandbits(128), version=4))
    properties = BasicProperties(**contracts.command_properties(command, message_id=message_id))
    return EncodedCommand(command.ROUTING_KEY, properties, contracts.encode(command))


def three_batches(skus: Iterable[str], first_qty: int) -> list[InitialBatch]:
    """For each SKU one in the warehouse and one at sea, both used up on the way, and one at sea that lasts."""
    return [
        batch
        for sku in skus
        for batch in (
            InitialBatch(reference=f"{sku}/warehouse", sku=sku, qty=first_qty),
            InitialBatch(reference=f"{sku}/next-ship", sku=sku, qty=first_qty, eta=_ETA),
            InitialBatch(reference=f"{sku}/last-ship", sku=sku, qty=PLENTY, eta=_ETA.replace(year=2031)),
        )
    ]


def allocates(count: int, *, skus: int, seed: int = 1) -> Workload:
    """Return `allocate` commands for new lines of random SKUs."""
    each = count * (MOST_ON_A_LINE + 1) // 2 // skus
    stock = three_batches(sku_names(skus), max(MOST_ON_A_LINE, each // 2))
    return Workload(stock=stock, orders=list(new_lines(count, skus=skus, seed=seed)))


def new_lines(count: int, *, skus: int, seed: int = 1) -> Iterator[EncodedCommand]:
    """The orders of `allocates`, one by one."""
    rng = random.Random(seed)
    names = sku_names(skus)
    for number in range(count):
        sku, qty = rng.choice(names), rng.randint(1, MOST_ON_A_LINE)
        yield encoded(contracts.Allocate(orderid=f"order-{seed}-{number}", sku=sku, qty=qty), rng)


def mixed(count: int, *, skus: int = 200) -> Workload:
    """90% allocate, 7% deallocate of a line sent before, 3% change-batch-quantity of any batch but the last."""
    rng = random.Random(2)
    names = sku_names(skus)
    stock = three_batches(names, count // skus * (MOST_ON_A_LINE + 1) // 4)
    changing = [batch for batch in stock if batch.qty != PLENTY]
    open_lines: list[contracts.Allocate] = []
    orders, news = [], []
    for number in range(count):
        kind = rng.random()
        if kind < 0.03:
            batch = rng.choice(changing)
            qty = batch.qty * rng.randint(70, 130) // 100
            news.append(encoded(contracts.ChangeBatchQuantity(batchref=batch.reference, qty=qty), rng))
        elif kind < 0.10 and open_lines:
            line = open_lines.pop(rng.randrange(len(open_lines)))
            orders.append(encoded(contracts.Deallocate(orderid=line.orderid, sku=line.sku), rng))
        else:
            line = contracts.Allocate(
                orderid=f"order-{number}", sku=rng.choice(names), qty=rng.randint(1, MOST_ON_A_LINE)
            )
            open_lines.append(line)
            orders.append(encoded(line, rng))
    return Workload(stock=stock, orders=orders, news=news)


def retail(path: Path) -> Workload:
    """Return the order lines of a real shop, without negative quantities; half of the stock is at sea."""
    rng = random.Random(3)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [(row["InvoiceNo"], row["StockCode"].strip(), int(row["Quantity"])) for row in csv.DictReader(file)]
    lines = [
        contracts.Allocate(orderid=invoice, sku=sku, qty=qty, lineid=str(number))
        for number, (invoice, sku, qty) in enumerate(rows)
        if qty > 0
    ]
    demand = Counter[str]()
    for line in lines:
        demand[line.sku] += line.qty
    stock = [
        batch
        for sku, qty in demand.items()
        for batch in (
            InitialBatch(reference=f"{sku}/shelf", sku=sku, qty=max(1, qty // 2)),
            InitialBatch(reference=f"{sku}/ship", sku=sku, qty=max(1, qty // 2), eta=_ETA),
        )
    ]
    return Workload(stock=stock, orders=[encoded(line, rng) for line in lines])


def sku_names(count: int) -> list[str]:
    """So many SKUs, the same each time."""
    return [f"SKU-{number:05}" for number in range(count)]
