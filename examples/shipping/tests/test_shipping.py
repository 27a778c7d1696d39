"""The pick list beside the real allocation worker: it comes to what was decided, whatever happens on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from pathlib import Path
from unittest.mock import ANY

import pika
import pytest

from allocation_contracts import (
    CAUSATION_ID_HEADER,
    EVENTS_EXCHANGE,
    Allocate,
    Allocated,
    Backordered,
    BatchCreated,
    BatchEtaChanged,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    CommandRejected,
    CreateBatch,
    Deallocate,
    Deallocated,
    Event,
    Held,
    Hold,
    HoldLapsed,
    LineQuantityChanged,
    OutOfStock,
    Position,
    PromiseChanged,
    Ship,
    Shipped,
    SkuEvent,
    encode,
)
from allocation_worker.testing import AllocationStack
from shipping import LINE, QUEUE, Pick, Shipping

PROGRAM = Path(__file__).parents[1] / "shipping.py"

SOON, LATER = date(2030, 1, 1), date(2030, 2, 1)


@contextmanager
def shipping(stack: AllocationStack, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program, taking from its queue."""
    with subprocess.Popen(
        [sys.executable, PROGRAM, str(path)], env={**os.environ, "AMQP_URL": stack.amqp_url}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def asking(stack: AllocationStack, path: Path) -> subprocess.Popen[str]:
    """The program, asking for what can leave."""
    return subprocess.Popen(
        [sys.executable, PROGRAM, str(path), "ship"],
        env={**os.environ, "AMQP_URL": stack.amqp_url},
        stdout=subprocess.PIPE,
        text=True,
    )


def asked(stack: AllocationStack, path: Path) -> tuple[int, str]:
    """Its exit code, and what it said."""
    with asking(stack, path) as process:
        said, _ = process.communicate(timeout=60)
        return process.returncode, said


def wait_until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def listed(path: Path) -> list[Pick]:
    with closing((shipping := Shipping(str(path))).database):
        return shipping.to_pick()


def wait_until_listed(path: Path, *picks: Pick) -> None:
    wait_until(lambda: listed(path) == [*picks], lambda: str(listed(path)))


def taken(path: Path) -> int:
    """How many events it has come past."""
    with closing(Shipping(str(path)).database) as database:
        [(count,)] = database.execute("SELECT coalesce(sum(last), 0) FROM positions")
        return int(count)


def decided(events: list[Event]) -> list[Pick]:
    """What the events come to, in the order in which each SKU's were numbered."""
    picks: dict[tuple[str, str, str], Pick] = {}
    held: set[tuple[str, str, str]] = set()
    lines = [event for event in events if isinstance(event, LINE)]
    for event in sorted(lines, key=lambda line: (line.sku, line.sequence)):
        key = (event.orderid, event.sku, event.lineid)
        picks.pop(key, None)
        if isinstance(event, Held):
            held.add(key)
        elif not isinstance(event, LineQuantityChanged | PromiseChanged):
            held.discard(key)
        if isinstance(event, Allocated | LineQuantityChanged | PromiseChanged) and event.batchref and key not in held:
            picks[key] = Pick(*key, event.qty, event.batchref)
    return sorted(picks.values(), key=lambda pick: (pick.batchref, pick.sku, pick.orderid, pick.lineid))


def bound(stack: AllocationStack) -> bool:
    """Whether the program has its queue: what is decided before that, it never sees."""
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        try:
            return connection.channel().queue_declare(QUEUE, passive=True).method.consumer_count > 0
        except pika.exceptions.ChannelClosedByBroker:
            return False


def publish(stack: AllocationStack, exchange: str, routing_key: str, events: list[tuple[str, bytes]]) -> None:
    """Bring types and bodies."""
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for type_, body in events:
            properties = pika.BasicProperties(
                type=type_, message_id="again", headers={CAUSATION_ID_HEADER: "again"}, delivery_mode=2
            )
            channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)


def announce_again(stack: AllocationStack, events: list[Event]) -> None:
    """Bring events once more, however old."""
    publish(stack, "", QUEUE, [(event.TYPE, encode(event)) for event in events])


def left(stack: AllocationStack) -> int:
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        return connection.channel().queue_declare(QUEUE, passive=True).method.message_count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picks.sqlite"


@pytest.fixture
def running(allocation_stack: AllocationStack, path: Path) -> Iterator[AllocationStack]:
    """The worker, with the program beside it."""
    with shipping(allocation_stack, path):
        wait_until(lambda: bound(allocation_stack), lambda: "no queue")
        yield allocation_stack


def has(stack: AllocationStack, batchref: str, qty: int, eta: date | None = None, sku: str = "CHAIR") -> None:
    """Let there be a batch."""
    stack.send(CreateBatch(batchref=batchref, sku=sku, qty=qty, eta=eta))
    stack.expect(BatchCreated, batchref=batchref)


# One line of order o1, told in the order of `sequence`. `batch` is where it has stock, if anywhere.


def allocated(batch: str = "b1", qty: int = 3, eta: date | None = None) -> SkuEvent:
    return Allocated(orderid="o1", sku="CHAIR", lineid="", qty=qty, batchref=batch, eta=eta, sequence=1)


def held(batch: str = "b1", qty: int = 3, eta: date | None = None) -> SkuEvent:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    return Held(orderid="o1", sku="CHAIR", lineid="", qty=qty, batchref=batch, eta=eta, until=until, sequence=1)


def lapsed() -> SkuEvent:
    return HoldLapsed(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref="b1", sequence=1)


def later(batch: str = "b1", qty: int = 3) -> SkuEvent:
    return PromiseChanged(
        orderid="o1", sku="CHAIR", lineid="", qty=qty, batchref=batch, eta=LATER, previous_eta=SOON, sequence=1
    )


def arrived(batch: str = "b1", qty: int = 3) -> SkuEvent:
    return PromiseChanged(
        orderid="o1", sku="CHAIR", lineid="", qty=qty, batchref=batch, eta=None, previous_eta=SOON, sequence=1
    )


def changed(qty: int, batch: str | None = "b1") -> SkuEvent:
    return LineQuantityChanged(
        orderid="o1", sku="CHAIR", lineid="", qty=qty, previous_qty=9, batchref=batch, eta=None, sequence=1
    )


def cancelled(reason: str = "cancelled", batch: str | None = "b1") -> SkuEvent:
    return Deallocated(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref=batch, reason=reason, sequence=1)


def waits() -> SkuEvent:
    return Backordered(orderid="o1", sku="CHAIR", lineid="", qty=3, largest_available=0, next_eta=None, sequence=1)


def sold_out() -> SkuEvent:
    return OutOfStock(orderid="o1", sku="CHAIR", lineid="", qty=3, largest_available=0, next_eta=None, sequence=1)


def shipped() -> SkuEvent:
    return Shipped(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref="b1", sequence=1)


def batch_later() -> SkuEvent:
    return BatchEtaChanged(batchref="b1", sku="CHAIR", eta=LATER, previous_eta=SOON, sequence=1)


STORIES: dict[str, tuple[list[SkuEvent], tuple[str, int] | None]] = {
    "held": ([held()], None),
    "held, in another quantity": ([held(), changed(4)], None),
    "held, in another batch for the other quantity": ([held(), changed(4, "b2")], None),
    "held, of a batch that comes later": ([held(eta=SOON), batch_later(), later()], None),
    "held, of a batch that has come, in another quantity": ([held(eta=SOON), arrived(), changed(5)], None),
    "held again, in another quantity": ([held(), held(qty=5), changed(6)], None),
    "held, then confirmed": ([held(), allocated()], ("b1", 3)),
    "held, changed, then confirmed": ([held(), changed(5), allocated(qty=5)], ("b1", 5)),
    "held, then confirmed, then changed": ([held(), allocated(), changed(2)], ("b1", 2)),
    "held, and lapsed": ([held(), changed(4), lapsed()], None),
    "lapsed, and ordered after all": ([held(), lapsed(), allocated("b2")], ("b2", 3)),
    "lapsed, and held by another batch": ([held(), lapsed(), held("b2"), changed(2, "b2")], None),
    "held, and given back": ([held(), changed(4), cancelled()], None),
    "held, and needed before its batch comes": ([held(eta=LATER), waits(), changed(2)], ("b1", 2)),
    "waits": ([waits()], None),
    "waits, in another quantity": ([waits(), changed(2, None)], None),
    "waits, and fits in a smaller quantity": ([waits(), changed(2)], ("b1", 2)),
    "waits, and is served": ([waits(), allocated("b2")], ("b2", 3)),
    "waits, then held": ([waits(), held(), changed(2)], None),
    "out of stock, then held, then changed": ([sold_out(), held(), changed(2)], None),
    "allocated": ([allocated()], ("b1", 3)),
    "allocated, in another quantity": ([allocated(), changed(2)], ("b1", 2)),
    "allocated, in a batch that has room for more": ([allocated(), changed(8, "b2")], ("b2", 8)),
    "allocated, of a batch that comes later": ([allocated(eta=SOON), batch_later(), later()], ("b1", 3)),
    "allocated, of a batch that comes too late": (
        [allocated(eta=SOON), batch_later(), cancelled("batch-eta-changed"), allocated("b2")],
        ("b2", 3),
    ),
    "allocated, and taken off": ([allocated(), cancelled("batch-quantity-changed"), waits()], None),
    "taken off, then held": ([allocated(), cancelled("batch-quantity-changed"), sold_out(), held(), changed(2)], None),
    "allocated, and taken off for a reason of a later version": ([allocated(), cancelled("flooded")], None),
    "allocated, and cancelled": ([allocated(), changed(4), cancelled()], None),
    "allocated, and shipped": ([allocated(), changed(3), shipped()], None),
}


class Fed:
    """The list of a program whose subscriber brings it what happened to one line."""

    def __init__(self, story: list[SkuEvent]) -> None:
        self.shipping = Shipping(":memory:")
        self.story = [event.model_copy(update={"sequence": number}) for number, event in enumerate(story, start=1)]

    def bring(self, event: SkuEvent) -> None:
        position = self.shipping.get(event.sku) or Position.before(event.sequence)
        self.shipping.take(event, ANY)
        self.shipping[event.sku] = position if position.has_seen(event.sequence) else position.after(event.sequence)

    def only_held_at(self, sequence: int) -> bool:
        telling = [each for each in self.story[:sequence] if not isinstance(each, LineQuantityChanged | PromiseChanged)]
        about_it = [each for each in telling if not isinstance(each, BatchEtaChanged)]
        return isinstance(about_it[-1], Held)


@pytest.mark.parametrize("name", STORIES)
def test_what_becomes_of_a_line_that_is(name: str) -> None:
    story, pick = STORIES[name]
    expected = [Pick("o1", "CHAIR", "", pick[1], pick[0])] if pick else []
    for order in permutations(range(len(story))):
        fed = Fed(story)
        with closing(fed.shipping.database):
            for index in order:
                fed.bring(fed.story[index])
                fed.bring(fed.story[order[0]])  # once more
                latest = fed.shipping.get("CHAIR")
                assert latest is not None
                if fed.only_held_at(latest.last):
                    assert fed.shipping.to_pick() == [], f"{order}: it is only held"
            assert fed.shipping.to_pick() == expected, order


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_and_however_often_events_come_the_last_word_counts(seed: int) -> None:
    fed = Fed([event for number in range(4) for event in (allocated(f"b{number}"), cancelled())] + [allocated("last")])
    with closing(fed.shipping.database):
        for event in random.Random(seed).sample(fed.story * 3, k=len(fed.story) * 3):
            fed.bring(event)
        assert fed.shipping.to_pick() == [("o1", "CHAIR", "", 3, "last")]


@pytest.mark.parametrize(
    ("story", "leaves"),
    [
        ([allocated()], True),
        ([allocated(eta=SOON)], False),
        ([allocated(eta=SOON), batch_later(), later()], False),
        ([allocated(eta=SOON), arrived()], True),
        ([held()], False),
        ([held(eta=SOON), arrived(), changed(2)], False),
        ([waits(), changed(2, None)], False),
        ([allocated(), shipped()], False),
    ],
)
def test_a_line_can_leave_if_it_was_allocated_and_its_batch_is_there(story: list[SkuEvent], *, leaves: bool) -> None:
    fed = Fed(story)
    with closing(fed.shipping.database):
        for event in fed.story:
            fed.bring(event)
        assert len(fed.shipping.to_ship()) == leaves


def test_asked_again_it_is_the_same_question_until_something_has_happened_to_the_line() -> None:
    fed = Fed([allocated(), cancelled("batch-quantity-changed"), allocated()])
    with closing(fed.shipping.database):
        fed.bring(fed.story[0])
        [first], [again] = fed.shipping.to_ship(), fed.shipping.to_ship()
        fed.bring(fed.story[1])
        fed.bring(fed.story[2])
        [after] = fed.shipping.to_ship()
        assert first == again != after


def test_positions_are_kept_with_what_they_miss(path: Path) -> None:
    position = Position(9, (range(3, 5), range(7, 8)))
    with closing((shipping := Shipping(str(path))).database):
        shipping["CHAIR"] = position
    with closing((shipping := Shipping(str(path))).database):
        assert shipping.get("CHAIR") == position
        assert shipping.get("TABLE") is None


def test_a_line_is_picked_where_it_was_allocated_and_not_once_it_is_cancelled(
    running: AllocationStack, path: Path
) -> None:
    has(running, "b1", 10)
    running.send(Allocate(orderid="o1", sku="CHAIR", qty=3))
    running.send(Allocate(orderid="o2", sku="CHAIR", qty=4))
    wait_until_listed(path, Pick("o1", "CHAIR", "", 3, "b1"), Pick("o2", "CHAIR", "", 4, "b1"))
    running.send(Deallocate(orderid="o1", sku="CHAIR"))
    wait_until_listed(path, Pick("o2", "CHAIR", "", 4, "b1"))


def test_a_line_that_is_only_held_is_neither_picked_nor_shipped(running: AllocationStack, path: Path) -> None:
    has(running, "b1", 10, SOON)
    until = datetime.now(UTC) + timedelta(minutes=5)
    running.send(Hold(orderid="basket", sku="CHAIR", qty=3, until=until))
    running.expect(Held, orderid="basket")
    running.send(ChangeLineQuantity(orderid="basket", sku="CHAIR", qty=4))
    running.expect(LineQuantityChanged, orderid="basket")
    running.send(ChangeBatchEta(batchref="b1", eta=None))
    running.expect(PromiseChanged, orderid="basket")
    running.send(Allocate(orderid="o1", sku="CHAIR", qty=1))
    wait_until_listed(path, Pick("o1", "CHAIR", "", 1, "b1"))
    assert asked(running, path) == (0, "1 CHAIR of b1 for o1: shipped\n")
    running.send(Allocate(orderid="basket", sku="CHAIR", qty=4))
    wait_until_listed(path, Pick("basket", "CHAIR", "", 4, "b1"))


def test_nothing_is_shipped_before_its_batch_is_there(running: AllocationStack, path: Path) -> None:
    has(running, "b1", 10, SOON)
    running.send(Allocate(orderid="o1", sku="CHAIR", qty=3))
    wait_until_listed(path, Pick("o1", "CHAIR", "", 3, "b1"))
    assert asked(running, path) == (0, "")
    running.send(ChangeBatchEta(batchref="b1", eta=None))
    told = running.expect(PromiseChanged, orderid="o1")
    wait_until(lambda: taken(path) >= told.sequence, lambda: str(taken(path)))
    assert asked(running, path) == (0, "3 CHAIR of b1 for o1: shipped\n")
    assert listed(path) == []
    assert asked(running, path) == (0, "")


def test_what_the_list_does_not_know_yet_the_answer_does(allocation_stack: AllocationStack, path: Path) -> None:
    stack = allocation_stack
    with shipping(stack, path):
        wait_until(lambda: bound(stack), lambda: "no queue")
        has(stack, "b1", 10)
        stack.send(Allocate(orderid="o1", sku="CHAIR", lineid="1", qty=3))
        stack.send(Allocate(orderid="o2", sku="CHAIR", qty=3))
        wait_until(lambda: len(listed(path)) == 2, lambda: str(listed(path)))
    stack.send(Deallocate(orderid="o1", sku="CHAIR", lineid="1"))
    stack.expect(Deallocated)
    with asking(stack, path) as question:
        stack.expect(CommandRejected, command=Ship.TYPE, within=20)
        with shipping(stack, path):
            said, _ = question.communicate(timeout=60)
    [first, second] = said.splitlines()
    assert first.startswith("3 CHAIR of b1 for o1 1: not shipped, line-cancelled: Line (order 'o1', SKU 'CHAIR', ")
    assert second == "3 CHAIR of b1 for o2: shipped"
    assert question.returncode == 1
    assert listed(path) == []


def test_events_of_a_later_version_do_it_no_harm(running: AllocationStack, path: Path) -> None:
    has(running, "b1", 10)
    running.send(Allocate(orderid="o1", sku="CHAIR", qty=3))
    wait_until_listed(path, Pick("o1", "CHAIR", "", 3, "b1"))
    unknown = {"orderid": "o1", "sku": "CHAIR", "lineid": "", "qty": 3, "batchref": "b9", "sequence": 3}
    later = {**unknown, "sequence": 4, "reason": "flooded", "depth": 2}
    events = [("gift-wrapped.v1", unknown), ("deallocated.v1", later), ("weather-changed.v1", {"degrees": 30})]
    bodies = [(type_, json.dumps(body).encode()) for type_, body in events]
    publish(running, EVENTS_EXCHANGE, "later", bodies)
    wait_until_listed(path)
    with closing((shipping := Shipping(str(path))).database):
        assert shipping.get("CHAIR") == Position(4)


def test_it_comes_to_what_was_decided_through_kills_and_repeats(allocation_stack: AllocationStack, path: Path) -> None:
    luck, stack = random.Random(7), allocation_stack
    for number in range(5):
        stack.send(CreateBatch(batchref=f"b{number}", sku=f"SKU-{number % 2}", qty=300, eta=SOON if number else None))
    with shipping(stack, path):
        wait_until(lambda: bound(stack), lambda: "no queue")
    until = datetime.now(UTC) + timedelta(hours=1)
    for round_ in range(4):
        least = taken(path) + 30
        with shipping(stack, path) as process:
            for number in range(60):
                sku, orderid, qty = f"SKU-{number % 2}", f"o{round_}-{number}", luck.randrange(1, 9)
                if luck.random() < 0.3:
                    stack.send(Hold(orderid=orderid, sku=sku, qty=qty, until=until))
                if luck.random() < 0.8:
                    stack.send(Allocate(orderid=orderid, sku=sku, qty=qty, wait=luck.random() < 0.5))
                if luck.random() < 0.3:
                    stack.send(ChangeLineQuantity(orderid=orderid, sku=sku, qty=luck.randrange(1, 9)))
                if luck.random() < 0.2:
                    stack.send(Deallocate(orderid=orderid, sku=sku))
            stack.send(ChangeBatchQuantity(batchref=f"b{round_}", qty=luck.randrange(50)))
            stack.send(ChangeBatchEta(batchref=f"b{round_ + 1}", eta=luck.choice([LATER, None])))
            wait_until(lambda least=least: taken(path) >= least, lambda: f"{taken(path)} taken")  # type: ignore[misc] # mypy does not infer lambdas with defaults
            process.send_signal(signal.SIGKILL)
        announce_again(stack, luck.sample([each for each in stack.events() if isinstance(each, Allocated)], k=10))
        with shipping(stack, path):
            wait_until(lambda: left(stack) == 0, lambda: f"{left(stack)} left")
            asked(stack, path)
    with shipping(stack, path):
        wait_until(
            lambda: left(stack) == 0 and listed(path) == decided(stack.events()),
            lambda: f"{listed(path)}\n{stack.story()}",
        )
    kinds = {type(each) for each in stack.events()}
    assert {Held, LineQuantityChanged, PromiseChanged, Shipped, Backordered} <= kinds
    assert [each for each in stack.events() if isinstance(each, Deallocated) and each.reason != "cancelled"]
    assert listed(path)


def test_without_its_file_it_says_how_it_is_run() -> None:
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Name the broker and the file: AMQP_URL=")
    assert done.stderr.count("\n") == 1
