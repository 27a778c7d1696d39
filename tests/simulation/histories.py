"""The commands of a simulation: small histories written by hand, and random ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from random import Random

from pika.spec import BasicProperties

import allocation_contracts as contracts
from allocation_contracts.commands import COMMANDS
from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from tests.fakes.messages import delivery
from tests.fakes.unit_of_work import START

ALWAYS = 1_000
SOON_OVER = [START + timedelta(seconds=seconds) for seconds in (0.5, 3, 10)]
"""Times of holds that lapse while commands come."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A message from upstream.

    Attributes:
        command: what it asks; None where it is broken.
        dead: the reason for which it is to end in the dead letters, if it is.
        fails: how many times its handler fails unexpectedly.
        deadly: whether it kills the process that reads it.
        after: seconds since what was sent before.
    """

    message_id: str
    type: str
    body: bytes
    command: Command | None = None
    dead: str | None = None
    fails: int = 0
    deadly: bool = False
    after: float = 0.0

    @property
    def routing_key(self) -> str:
        return COMMANDS[self.type].ROUTING_KEY

    @property
    def queue(self) -> str:
        return COMMANDS[self.type].QUEUE

    def properties(self) -> BasicProperties:
        return BasicProperties(
            content_type=contracts.CONTENT_TYPE, delivery_mode=2, message_id=self.message_id, type=self.type
        )


def send(command: Command, message_id: str, *, after: float = 0.0) -> Sent:
    """A command as it is to be sent."""
    made = delivery(command, message_id)
    return Sent(message_id=message_id, type=str(made.properties.type), body=made.body, command=command, after=after)


def _batch(batchref: str, qty: int, sku: str = "LAMP") -> CreateBatch:
    return CreateBatch(batchref=batchref, sku=sku, qty=qty)


def _order(orderid: str, qty: int, sku: str = "LAMP", *, wait: bool = False, priority: int = 0) -> Allocate:
    return Allocate(orderid=orderid, sku=sku, qty=qty, wait=wait, priority=priority)


def shrink() -> Sequence[Sent]:
    """A batch, two orders, one of them sent twice; the batch shrinks, and an order is cancelled."""
    return [
        send(_batch("b1", 10), "create"),
        send(_order("o1", 4), "order-1", after=0.1),
        send(_order("o2", 5), "order-2"),
        send(_order("o1", 4), "order-1"),
        send(ChangeBatchQuantity(batchref="b1", qty=5), "shrink", after=0.1),
        send(Deallocate(orderid="o1", sku="LAMP"), "cancel"),
    ]


def move() -> Sequence[Sent]:
    """A line moves to a second batch; stock commands depend on each other."""
    return [
        send(_batch("b1", 5), "create-1"),
        send(_batch("b2", 5), "create-2"),
        send(_order("o1", 5), "order-1", after=0.1),
        send(ChangeBatchQuantity(batchref="b1", qty=0), "shrink", after=0.1),
        send(ChangeBatchQuantity(batchref="b1", qty=3), "grow"),
    ]


def early() -> Sequence[Sent]:
    """An order that overtakes its batch, and one that is broken."""
    return [
        send(_order("o1", 1, "VASE"), "early"),
        Sent(message_id="broken", type=contracts.Allocate.TYPE, body=b"{", dead="invalid-json"),
        send(_batch("v1", 1, "VASE"), "create"),
    ]


def deadly(queue: str) -> Sequence[Sent]:
    """A message that kills whoever reads it, and its neighbours in both queues."""
    orders = queue == contracts.ORDERS_QUEUE
    killer = _order("deadly", 1) if orders else ChangeBatchQuantity(batchref="b1", qty=9)
    return [
        send(_batch("b1", 10), "create"),
        replace(send(killer, "deadly", after=1.0), dead="delivery_limit", deadly=True),
        send(ChangeBatchQuantity(batchref="b1", qty=5), "change"),
        send(_order("o1", 2), "order"),
    ]


def crowd(good: int, bad: int, random: Random) -> Sequence[Sent]:
    """Orders that are all there at once, and some among them that kill whoever reads them."""
    sent = [send(_order(f"o{number}", 1), f"good-{number}") for number in range(good)]
    return [
        send(_batch("b1", good), "create"),
        *_with_deadly(sent, bad, random, lambda number: _order(f"d{number}", 1)),
    ]


def backlog(good: int, bad: int, random: Random) -> Sequence[Sent]:
    """Stock commands that are all there at once, each changes the same batch, and some kill whoever reads them."""
    sent = [send(ChangeBatchQuantity(batchref="b1", qty=number), f"good-{number}") for number in range(1, good)]
    killers = _with_deadly(sent, bad, random, lambda number: ChangeBatchQuantity(batchref="b1", qty=9_000 + number))
    return [send(_batch("b1", good), "good-0"), *killers]


def prolonged(count: int) -> Sequence[Sent]:
    """Stock is held for some lines, whose time is soon over, and for each of them at once for longer."""
    soon, late = START + timedelta(seconds=1), START + timedelta(hours=1)
    sent = [send(_batch("b1", count), "create")]
    for number in range(count):
        hold = Hold(orderid=f"o{number}", sku="LAMP", qty=1, until=soon)
        sent += [send(hold, f"hold-{number}"), send(replace(hold, until=late), f"longer-{number}")]
    return sent


def _with_deadly(sent: Sequence[Sent], bad: int, random: Random, make: Callable[[int], Command]) -> Sequence[Sent]:
    mixed = list(sent)
    for number in range(bad):
        killer = replace(send(make(number), f"bad-{number}"), dead="delivery_limit", deadly=True)
        mixed.insert(random.randrange(len(mixed) + 1), killer)
    return mixed


def wait() -> Sequence[Sent]:
    """Lines wait for stock. One is served by a batch, one by a cancellation, and a victim by what is left over."""
    return [
        send(_batch("b1", 5), "create-1"),
        send(_order("o1", 5), "order-1", after=0.1),
        send(_order("o2", 4, wait=True), "wait-2", after=0.1),
        send(_order("o3", 2, wait=True, priority=1), "wait-3"),
        send(_batch("b2", 4), "create-2", after=0.1),
        send(Deallocate(orderid="o1", sku="LAMP"), "cancel", after=0.1),
        send(ChangeBatchQuantity(batchref="b1", qty=0), "shrink", after=0.1),
    ]


def later() -> Sequence[Sent]:
    """A ship comes later: of three lines, one is told, one is moved, and one waits. Then the ship is there."""
    soon, day_after = date(2031, 1, 1), date(2031, 1, 2)
    needed = replace(_order("o2", 2), needed_by=soon)
    return [
        send(replace(_batch("b1", 6), eta=soon), "create-1"),
        send(_batch("b2", 2), "create-2"),
        send(_order("o0", 2), "order-0", after=0.1),
        send(_order("o1", 1), "order-1", after=0.1),
        send(needed, "order-2"),
        send(replace(needed, orderid="o3", wait=True), "order-3"),
        send(Deallocate(orderid="o0", sku="LAMP"), "cancel", after=0.1),
        send(ChangeBatchEta(batchref="b1", eta=day_after), "later", after=0.1),
        send(ChangeBatchEta(batchref="b1", eta=None), "arrived", after=0.1),
    ]


def held() -> Sequence[Sent]:
    """Stock is held for three lines: one is ordered, one held for longer, one lapses, to the good of one that waits."""
    soon, late = START + timedelta(seconds=2), START + timedelta(hours=1)
    return [
        send(_batch("b1", 6), "create"),
        send(Hold(orderid="o1", sku="LAMP", qty=2, until=soon), "hold-1", after=0.1),
        send(Hold(orderid="o2", sku="LAMP", qty=2, until=soon), "hold-2"),
        send(Hold(orderid="o3", sku="LAMP", qty=2, until=soon), "hold-3"),
        send(_order("o4", 2, wait=True), "wait-4", after=0.1),
        send(_order("o1", 2), "order-1"),
        send(Hold(orderid="o2", sku="LAMP", qty=2, until=late), "hold-longer"),
    ]


SMALL: Mapping[str, Callable[[], Sequence[Sent]]] = {
    "shrink": shrink,
    "move": move,
    "early": early,
    "wait": wait,
    "later": later,
    "held": held,
}


def anything(random: Random) -> Sequence[Sent]:
    """Some commands of a few SKUs, with repeats, conflicts, broken ones and failing ones among them."""
    sent: list[Sent] = []
    for number, command in enumerate(_commands(random)):
        fails = random.choice([*[0] * 9, 1, 2, ALWAYS]) if isinstance(command, Allocate) else 0
        message = send(command, f"m{number}")
        sent.append(replace(message, fails=fails, dead="handler-failed" if fails == ALWAYS else None))
    for _ in range(random.randint(0, 3)):
        sent.insert(random.randrange(len(sent) + 1), random.choice(sent))
    if random.random() < 0.3:
        sent.insert(random.randrange(len(sent)), _broken(random))
    if random.random() < 0.1:
        deadly = replace(send(_order("deadly", 1), "deadly"), dead="delivery_limit", deadly=True)
        sent.insert(random.randrange(len(sent)), deadly)
    longest = random.choice([0.0, 0.05, 2.0])
    return [replace(each, after=random.random() * longest) for each in sent]


def _broken(random: Random) -> Sent:
    type_ = random.choice([contracts.Allocate.TYPE, contracts.CreateBatch.TYPE])
    return Sent(message_id="broken", type=type_, body=b"{", dead="invalid-json")


def _commands(random: Random) -> Iterator[Command]:  # noqa: C901 - one for each command
    skus = ["LAMP", "VASE"] if random.random() < 0.5 else ["LAMP"]
    batches = 0
    for _ in range(random.choice([random.randint(3, 14), random.randint(15, 40)])):
        sku = random.choice(skus)
        orderid = f"o{random.randint(1, 9)}"
        kind = random.random()
        if batches == 0 or kind < 0.15:
            batches += 1
            eta = random.choice([None, date(2031, 1, 1), date(2031, 1, 2)])
            yield replace(_batch(f"b{batches}", random.randint(1, 12), sku), eta=eta)
        elif kind < 0.21:
            until = random.choice([*SOON_OVER, START + timedelta(hours=12), START + timedelta(hours=13)])
            basket = Hold(orderid=orderid, sku=sku, qty=random.choice([1, 2, 3]), until=until)
            yield basket
            if random.random() < 0.5:
                yield replace(basket, until=until + timedelta(seconds=2))
        elif kind < 0.62:
            order = _order(orderid, random.choice([1, 2, 2, 3, 5]), sku)
            if random.random() < 0.4:
                order = replace(order, wait=True, priority=random.choice([0, 0, 9]))
            if random.random() < 0.2:
                order = replace(order, needed_by=date(2031, 1, 1))
            yield order
        elif kind < 0.67:
            yield ChangeLineQuantity(orderid=orderid, sku=sku, qty=random.choice([1, 2, 3]))
        elif kind < 0.7:
            yield Ship(orderid=orderid, sku=sku)
        elif kind < 0.77:
            yield Deallocate(orderid=orderid, sku=sku)
        elif kind < 0.82:
            eta = random.choice([None, date(2031, 1, 1), date(2031, 1, 2)])
            yield ChangeBatchEta(batchref=f"b{random.randint(1, batches)}", eta=eta)
        else:
            yield ChangeBatchQuantity(batchref=f"b{random.randint(1, batches)}", qty=random.randint(0, 12))
