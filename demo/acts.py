"""The steps of the demo. Each step acts on the service, shows the effect, and returns one sentence about it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from time import monotonic

import allocation_contracts as contracts
from allocation_contracts import (
    Allocate,
    Allocated,
    ChangeBatchEta,
    ChangeBatchQuantity,
    Deallocate,
    PromiseChanged,
    Ship,
)
from demo import words
from demo.plan import CHAIR, LAMP, VASE, Day, batch_of
from demo.shop import Moves, moves_in
from demo.stage import Stage

_BY_NOON = 0.55
_DELAY = timedelta(days=7)
_NOON, _UNTIL_KILL, _DOWN, _BACK = 4.0, 0.7, 1.3, 1.6
"""The seconds for the first orders, and for the orders before, during and after the outage of `consume`."""


class PlotError(AssertionError):
    """The service broke its contract. The text is the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The objects that a step may use."""

    stage: Stage
    day: Day
    today: date


def stock_comes_in(cast: Cast) -> str:
    """Announce every batch."""
    stage, batches = cast.stage, cast.day.batches
    stage.tell("In the morning, purchasing tells what is in the warehouse, and what at sea.", rest=0)
    stage.stream(batches, over=1.0)
    stage.wait_settled()
    ships = {batch.eta for batch in batches} - {None}
    pieces = sum(batch.qty for batch in batches)
    return (
        f"{words.count(len(batches), 'batch', 'batches')} of {len(stage.shop.skus())} SKUs, {pieces:,} pieces, "
        f"in the warehouse and on {words.count(len(ships), 'ship')}."
    )


def orders_come_in(cast: Cast) -> str:
    """Publish the first orders."""
    stage, lines = cast.stage, cast.day.lines[: _noon(cast.day)]
    stage.tell("A line goes whole to one batch: the warehouse first, then the earliest ship.", rest=0)
    begin = monotonic()
    stage.stream(lines, over=_NOON)
    stage.wait_settled()
    took = monotonic() - begin
    return (
        f"{words.count(len(lines), 'order line')} in {took:.1f} s, {len(lines) / took:,.0f} a second, and "
        f"{len(stage.shop.held):,} of them have stock."
    )


def the_worker_is_killed(cast: Cast) -> str:
    """Kill `consume` while orders come in, let more come, and start it again."""
    stage, lines = cast.stage, cast.day.lines[_noon(cast.day) :]
    a_fifth, a_half = len(lines) // 5, len(lines) // 2
    stage.stream(lines[:a_fifth], over=_UNTIL_KILL)
    pid = stage.kill("consume")
    stage.tell(f"kill -9 {pid}: consume is gone. Orders keep coming, and the broker keeps them.", rest=0)
    stage.stream(lines[a_fifth:a_half], over=_DOWN)
    waiting = stage.waiting
    stage.tell(f"Process {stage.start('consume')} takes over, with {waiting} orders waiting for it.", rest=0)
    stage.stream(lines[a_half:], over=_BACK)
    stage.wait_settled()
    return f"kill -9 of consume: {waiting} orders waited for its successor, and nothing is lost."


def a_shipment_shrinks(cast: Cast) -> str:
    """Halve the allocated quantity of the ship with the most allocated chairs."""
    stage = cast.stage
    ship = stage.shop.fullest_ship(CHAIR)
    before, after = ship.purchased, ship.allocated // 2
    stage.tell(f"A container went overboard: of {before} chairs on {ship.ref}, {after} are left.")
    change = stage.send(ChangeBatchQuantity(batchref=ship.ref, qty=after))
    stage.wait_settled()
    moves = moves_in(stage.caused_by(change))
    if not moves.taken_off:
        raise PlotError(f"Batch {ship.ref} shrank below what it had promised, and no line was taken off it.")
    return f"{ship.ref} fell from {before} to {after}: {_told(moves, ship.ref)}."


def a_cancellation(cast: Cast) -> str:
    """Cancel the first line. A late copy of it is rejected."""
    stage, line = cast.stage, cast.day.lines[0]
    stage.tell(f"The customer of {line.orderid} has changed their mind.", rest=0.5)
    freed = stage.ask(Deallocate(orderid=line.orderid, sku=line.sku, lineid=line.lineid)).data
    stage.tell(f"{freed['qty']} {line.sku} are free again in {freed['batchref']}.", rest=0.5)
    late = stage.ask(line)
    if late.type != contracts.CommandRejected.TYPE:
        raise PlotError(f"Line {line.orderid} was cancelled, and a late copy of it was answered by {late.type}.")
    return (
        f"{line.orderid} gives {freed['qty']} {line.sku} back to {freed['batchref']}; a copy of it that comes late is "
        f"refused, {late.data['reason']}."
    )


def a_line_waits(cast: Cast) -> str:
    """Order more lamps than any batch has, and wait for them. Then announce a ship that has enough."""
    stage = cast.stage
    wanted = Allocate(orderid=_next_order(cast, 1), sku=LAMP, qty=stage.shop.largest_available(LAMP) + 7, wait=True)
    answer = stage.ask(wanted)
    event = contracts.read_event(answer.type, answer.body)
    if not isinstance(event, contracts.Backordered):
        raise PlotError(f"No batch has {wanted.qty} {LAMP}, and yet the answer was {answer.type}.")
    stage.tell(f"A hotel wants {wanted.qty} {LAMP}, and can wait: {words.shortage(event)}.", rest=1.2)
    ship = batch_of(LAMP, "calypso", qty=wanted.qty + 5, today=cast.today)
    stage.tell(f"More are bought, due {words.day(ship.eta)}.", rest=0.5)
    bought = stage.send(ship)
    stage.wait_settled()
    served = [each.data["orderid"] for each in stage.caused_by(bought) if each.type == Allocated.TYPE]
    if served != [wanted.orderid]:
        raise PlotError(f"Batch {ship.batchref} has the {wanted.qty} {LAMP} of {wanted.orderid}, and served {served}.")
    return (
        f"{wanted.orderid} wants {wanted.qty} lamps, {event.largest_available} is the most to be had, and it waits. As "
        f"soon as {ship.batchref} is announced, it is served; nobody asked again."
    )


def a_date_moves(cast: Cast) -> str:
    """Let the ship with the most allocated chairs come a week later. Then it comes in, and a line of it is shipped."""
    stage = cast.stage
    ship = stage.shop.fullest_ship(CHAIR)
    promised, lines = ship.eta or cast.today, stage.shop.lines_of(ship.ref)
    late = promised + _DELAY
    stage.tell(f"A storm: {ship.ref} will not come on {words.day(promised)}, but on {words.day(late)}.", rest=0.8)
    _check_told(stage, ChangeBatchEta(batchref=ship.ref, eta=late), before=promised)
    stage.tell(f"Each of its lines is told both dates: {words.count(len(lines), 'line')}.", rest=0.8)
    _check_told(stage, ChangeBatchEta(batchref=ship.ref, eta=None), before=late)
    orderid, sku, lineid = min(lines)
    left = stage.ask(Ship(orderid=orderid, sku=sku, lineid=lineid))
    if left.type != contracts.Shipped.TYPE:
        raise PlotError(f"Batch {ship.ref} is there, and to ship {orderid} was answered by {left.type}.")
    told = words.count(len(lines), "line was", "lines were")
    return (
        f"{ship.ref} comes on {words.day(late)}, not on {words.day(promised)}: {told} told. Then it is there, and "
        f"{orderid} is shipped."
    )


def _check_told(stage: Stage, change: ChangeBatchEta, *, before: date) -> None:
    """Send the change, and check that each line of the batch is told the date before and the new one, once."""
    lines = stage.shop.lines_of(change.batchref)
    change_id = stage.send(change)
    stage.wait_settled()
    events = {each.message_id: contracts.read_event(each.type, each.body) for each in stage.caused_by(change_id)}
    told = [each for each in events.values() if isinstance(each, PromiseChanged)]
    if sorted((each.orderid, each.sku, each.lineid) for each in told) != sorted(lines):
        raise PlotError(f"Batch {change.batchref} has another date, and {len(told)} of {len(lines)} lines were told.")
    if any((each.previous_eta, each.eta) != (before, change.eta) for each in told):
        raise PlotError(f"A line was told a date of batch {change.batchref} that it did not have.")


def a_message_comes_again(cast: Cast) -> str:
    """Send one command three more times. The next event of its SKU shows that the repeats had no effect."""
    stage = cast.stage
    order = Allocate(orderid=_next_order(cast, 2), sku=VASE, qty=1)
    first = stage.ask(order)
    stage.tell(f"The order system is not sure that {order.orderid} went out, and sends it three times more.", rest=0.4)
    for _ in range(3):
        stage.send(order, message_id=first.causation_id)
    following = stage.ask(Allocate(orderid=_next_order(cast, 3), sku=VASE, qty=1))
    between = following.data["sequence"] - first.data["sequence"] - 1
    if between:
        raise PlotError(f"A command that was sent four times had {between + 1} effects: {order}.")
    return f"{order.orderid} came four times under one message_id, and took effect once."


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A step and its title."""

    title: str
    play: Callable[[Cast], str]


PROGRAMME = (
    Act(title="Stock comes in", play=stock_comes_in),
    Act(title="Orders come in", play=orders_come_in),
    Act(title="A worker is killed", play=the_worker_is_killed),
    Act(title="A shipment shrinks", play=a_shipment_shrinks),
    Act(title="A cancellation", play=a_cancellation),
    Act(title="A line waits", play=a_line_waits),
    Act(title="A date moves", play=a_date_moves),
    Act(title="A message again", play=a_message_comes_again),
)


def perform(cast: Cast) -> list[tuple[str, str]]:
    """Run every step. Return the title and the result of each.

    Raises:
        PlotError: The service broke its contract.
    """
    chronicle = []
    for number, act in enumerate(PROGRAMME, start=1):
        cast.stage.view.act(number, act.title)
        essence = act.play(cast)
        cast.stage.tell(essence, rest=1.3)
        chronicle.append((act.title, essence))
    return chronicle


def _noon(day: Day) -> int:
    return int(len(day.lines) * _BY_NOON)


def _next_order(cast: Cast, number: int) -> str:
    return f"order-{cast.day.orders + number:04}"


def _told(moves: Moves, ship: str) -> str:
    moved = [f"{number} moved to {ref}" for ref, number in moves.to.most_common() if ref != ship]
    stayed = [f"{moves.to[ship]} fitted in again"] if ship in moves.to else []
    stranded = [f"{moves.stranded} found no other place"] if moves.stranded else []
    lines = words.count(moves.taken_off, "line was", "lines were")
    return f"{lines} taken off, the last asked first; {words.listed(moved + stayed + stranded)}"
