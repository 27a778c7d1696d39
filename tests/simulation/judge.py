"""Checks a run: the commands, the events and the tables must agree."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import allocation_contracts as contracts
from allocation_contracts.names import STOCK_QUEUE
from allocation_worker.adapters.rabbitmq.prefetch_policy import FAILURES_BEFORE_RETURN
from allocation_worker.domain.commands import BatchCommand, Command, CreateBatch, Hold
from harness.checker.events import check
from harness.checker.messages import ReceivedEvent, SentCommand
from tests.fakes.naive_shop import Answer, NaiveShop
from tests.fakes.unit_of_work import FakeDatabase, Published
from tests.simulation.broker import Letter
from tests.simulation.histories import Sent
from tests.simulation.world import World


def judge(world: World) -> list[str]:
    """What is wrong with a run, in sentences; none if it is good."""
    faults = list(world.faults)
    received = [_received(letter) for letter in world.broker.events]
    dead = {sent.message_id for sent in world.setting.sent if sent.dead}
    commands = [SentCommand(message_id=s.message_id, type=s.type, body=s.body) for s in world.setting.sent]
    checked = check(commands, received, dead=dead).faults
    if world.nacked or world.setting.unbound:
        checked = [fault for fault in checked if " came where " not in fault]
    if not world.setting.unbound:
        # Those behind a refused event are published before it, and again after it: with that it is in order.
        # An event that no queue wanted comes when one wants it, whatever has been published meanwhile.
        checked += _greedy_gaps(received)
    faults += checked
    faults += _check_dead_letters(world.setting.sent, world.broker.dead)
    faults += _check_stored(world.database, received, world.setting.sent, dead)
    faults += _check_stock_order(world)
    return faults + _check_model(world)


def _received(letter: Letter) -> ReceivedEvent:
    return ReceivedEvent.of(letter.properties, letter.body, routing_key=letter.routing_key)


def _greedy_gaps(received: Sequence[ReceivedEvent]) -> list[str]:
    """A subscriber that takes what is due and passes over all else must get everything."""
    last: dict[str, int] = defaultdict(int)
    highest: dict[str, int] = defaultdict(int)
    for event in received:
        if event.type != contracts.CommandRejected.TYPE:
            sku, sequence = event.data["sku"], event.data["sequence"]
            last[sku] += sequence == last[sku] + 1
            highest[sku] = max(highest[sku], sequence)
    return [f"SKU {sku}: stuck at {last[sku]} of {highest[sku]}." for sku in highest if last[sku] < highest[sku]]


def _check_dead_letters(sent: Sequence[Sent], dead: Sequence[Letter]) -> list[str]:
    expected = {(each.message_id, each.body, str(each.dead)) for each in sent if each.dead}
    found = set()
    for letter in dead:
        headers = letter.properties.headers or {}
        reason = headers.get("x-reason") or headers.get("x-first-death-reason")
        found.add((str(letter.properties.message_id), letter.body, str(reason)))
    faults = [f"Dead letter {name} ({reason}) was not expected." for name, _, reason in found - expected]
    return faults + [f"There is no dead letter {name} ({reason})." for name, _, reason in expected - found]


def _check_stored(
    database: FakeDatabase, received: Sequence[ReceivedEvent], sent: Sequence[Sent], dead: set[str]
) -> list[str]:
    faults = []
    stored = {(event.message_id, event.causation_id) for event in database.published()}
    seen = {(event.message_id, event.causation_id) for event in received}
    faults += [f"Event {each} was stored and never seen." for each in stored - seen]
    faults += [f"Event {each} was seen and never stored." for each in seen - stored]
    taken = {each.message_id for each in sent} - dead
    if database.taken() != taken:
        faults.append(f"The inbox holds {sorted(database.taken())} instead of {sorted(taken)}.")
    return faults


def _check_stock_order(world: World) -> list[str]:
    """Stock commands are applied in the order in which they were sent, until they are taken one at a time."""
    if world.broker.queues[STOCK_QUEUE].most_failures >= FAILURES_BEFORE_RETURN:
        return []
    return stock_order(world)


def stock_order(world: World) -> list[str]:
    """What is wrong with the order in which the stock commands of each SKU and batch were applied, in sentences.

    A command about a batch that is to be created later belongs to no SKU.
    """
    skus: dict[str, str] = {}
    sent: dict[str, list[str]] = defaultdict(list)
    first: dict[str, Sent] = {}
    for each in world.setting.sent:
        first.setdefault(each.message_id, each)
    for each in first.values():
        if isinstance(each.command, CreateBatch):
            skus.setdefault(each.command.batchref, each.command.sku)
        if isinstance(each.command, CreateBatch | BatchCommand):
            reference = each.command.batchref
            sent[f"batch {reference}"].append(each.message_id)
            if reference in skus:
                sent[f"SKU {skus[reference]}"].append(each.message_id)
    faults = []
    for name, message_ids in sent.items():
        applied = [message_id for message_id in world.database.committed.inbox if message_id in message_ids]
        expected = [message_id for message_id in message_ids if message_id in applied]
        if applied != expected:
            faults.append(f"Stock commands of {name} were sent as {expected} and applied as {applied}.")
    return faults


def _check_model(world: World) -> list[str]:
    """Answer the same commands, in the order in which they were committed, as plainly as can be."""
    shop = NaiveShop()
    expected: dict[str, list[Answer]] = defaultdict(list)
    for cause, command in _committed(world):
        expected[cause] += shop.answer(command)
    found: dict[str, list[Answer]] = defaultdict(list)
    for event in world.database.published():
        found[event.causation_id].append(_answer(event))
    faults = [
        f"{cause} was answered by {found[cause]} instead of {expected[cause]}."
        for cause in {**expected, **found}
        if found[cause] != expected[cause]
    ]
    stock = {batch.reference: (batch.qty, batch.qty - shop.available(batch)) for batch in shop.batches}
    faults += _prune_model(world.database, shop)
    stock = {batch.reference: stock[batch.reference] for batch in shop.batches}
    lines = {(*line.key, line.qty, line.batch and line.batch.reference, line.cancelled) for line in shop.lines}
    if world.database.lines() != lines:
        faults.append(f"The lines are {sorted(map(str, world.database.lines()))} instead of {sorted(map(str, lines))}.")
    if world.database.stock() != stock:
        faults.append(f"The stock is {world.database.stock()} instead of {stock}.")
    return faults


def _committed(world: World) -> Iterator[tuple[str, Command]]:
    """Return the commands in the order in which they were committed, and the ends of holds, each with its cause."""
    commands = {sent.message_id: sent.command for sent in world.setting.sent}
    lapses = deque(world.database.committed.lapses)
    for number, message_id in enumerate([*world.database.committed.inbox, ""]):
        while lapses and lapses[0][0] == number:
            _, lapse = lapses.popleft()
            yield lapse.message_id, lapse
        if message_id:
            command = commands[message_id]
            assert command is not None, f"{message_id} is broken, and was taken"
            yield message_id, replace(command, message_id=message_id) if isinstance(command, Hold) else command


def _prune_model(database: FakeDatabase, shop: NaiveShop) -> list[str]:
    """Take from the shop what was pruned, and say what should not have been."""
    kept = {(orderid, sku, lineid) for orderid, sku, lineid, *_ in database.lines()}
    pruned: dict[str, int] = defaultdict(int)
    faults = []
    for line in [each for each in shop.lines if each.key not in kept]:
        if line.waits or (line.batch and not line.shipped):
            faults.append(f"Line {line.key} was pruned, and has not ended.")
        elif line.batch:
            pruned[line.batch.reference] += line.qty
        shop.lines.remove(line)
    if database.committed.pruned != pruned:
        faults.append(f"The batches count {database.committed.pruned} as pruned, and {dict(pruned)} was.")
    for batch in [each for each in shop.batches if each.reference in database.committed.pruned_batches]:
        if batch.qty != pruned[batch.reference]:
            faults.append(f"Batch {batch.reference} was pruned, and not all of it was shipped.")
        shop.batches.remove(batch)
    return faults


def _answer(event: Published) -> Answer:
    body: Mapping[str, object] = event.body
    if event.type == contracts.CommandRejected.TYPE:
        return (event.type, {"reason": body["reason"]})
    return (event.type, dict(body))
