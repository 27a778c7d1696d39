"""The pick list beside the real allocation worker: it comes to what was decided, whatever happens on the way."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import ANY

import pika
import pytest

from allocation_contracts import (
    CAUSATION_ID_HEADER,
    Allocate,
    Allocated,
    BatchCreated,
    ChangeBatchQuantity,
    CreateBatch,
    Deallocate,
    Deallocated,
    Event,
    Position,
    encode,
)
from allocation_worker.testing import AllocationStack
from shipping import QUEUE, Shipping

PROGRAM = Path(__file__).parents[1] / "shipping.py"

Line = tuple[str, str, str, int, str]


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


def wait_until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def listed(path: Path) -> list[Line]:
    with closing((shipping := Shipping(str(path))).database):
        return shipping.to_pick()


def taken(path: Path) -> int:
    """How many events it has come past."""
    with closing(Shipping(str(path)).database) as database:
        [(count,)] = database.execute("SELECT coalesce(sum(last), 0) FROM positions")
        return int(count)


def decided(stack: AllocationStack) -> list[Line]:
    """What the events come to, in the order in which each SKU's were numbered."""
    held: dict[tuple[str, str, str], Line] = {}
    moves = [event for event in stack.events() if isinstance(event, Allocated | Deallocated)]
    for event in sorted(moves, key=lambda move: (move.sku, move.sequence)):
        key = (event.orderid, event.sku, event.lineid)
        held.pop(key, None)
        if isinstance(event, Allocated):
            held[key] = (*key, event.qty, event.batchref)
    return sorted(held.values(), key=lambda line: (line[4], line[1], line[0], line[2]))


def bound(stack: AllocationStack) -> bool:
    """Whether the program has its queue: what is decided before that, it never sees."""
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        try:
            return connection.channel().queue_declare(QUEUE, passive=True).method.consumer_count > 0
        except pika.exceptions.ChannelClosedByBroker:
            return False


def announce_again(stack: AllocationStack, events: list[Event]) -> None:
    """Bring events once more, however old."""
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for event in events:
            properties = pika.BasicProperties(
                type=event.TYPE, message_id="again", headers={CAUSATION_ID_HEADER: "again"}, delivery_mode=2
            )
            channel.basic_publish("", QUEUE, encode(event), properties, mandatory=True)


def left(stack: AllocationStack) -> int:
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        return connection.channel().queue_declare(QUEUE, passive=True).method.message_count


def test_a_line_is_picked_where_it_was_allocated_and_not_once_it_is_cancelled(
    allocation_stack: AllocationStack, tmp_path: Path
) -> None:
    path = tmp_path / "picks.sqlite"
    with shipping(allocation_stack, path):
        wait_until(lambda: bound(allocation_stack), lambda: "no queue")
        allocation_stack.send(CreateBatch(batchref="b1", sku="CHAIR", qty=10))
        allocation_stack.expect(BatchCreated)
        allocation_stack.send(Allocate(orderid="o1", sku="CHAIR", qty=3))
        allocation_stack.send(Allocate(orderid="o2", sku="CHAIR", qty=4))
        wait_until(lambda: len(listed(path)) == 2, lambda: str(listed(path)))
        assert listed(path) == [("o1", "CHAIR", "", 3, "b1"), ("o2", "CHAIR", "", 4, "b1")]
        allocation_stack.send(Deallocate(orderid="o1", sku="CHAIR"))
        wait_until(lambda: listed(path) == [("o2", "CHAIR", "", 4, "b1")], lambda: str(listed(path)))


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_and_however_often_events_come_the_last_word_counts(tmp_path: Path, seed: int) -> None:
    events: list[Event] = []
    for number in range(1, 9, 2):
        held = f"b{number}"
        events += [
            Allocated(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref=held, eta=None, sequence=number),
            Deallocated(
                orderid="o1", sku="CHAIR", lineid="", qty=3, batchref=held, reason="cancelled", sequence=number + 1
            ),
        ]
    events.append(Allocated(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref="last", eta=None, sequence=9))
    shipping = Shipping(str(tmp_path / "picks.sqlite"))
    with closing(shipping.database):
        for event in random.Random(seed).sample(events * 3, k=len(events) * 3):
            shipping.take(event, ANY)
        assert shipping.to_pick() == [("o1", "CHAIR", "", 3, "last")]


def test_positions_are_kept_with_what_they_miss(tmp_path: Path) -> None:
    position = Position(9, (range(3, 5), range(7, 8)))
    with closing((shipping := Shipping(str(tmp_path / "picks.sqlite"))).database):
        shipping["CHAIR"] = position
    with closing((shipping := Shipping(str(tmp_path / "picks.sqlite"))).database):
        assert shipping.get("CHAIR") == position
        assert shipping.get("TABLE") is None


def test_it_comes_to_what_was_decided_through_kills_and_repeats(
    allocation_stack: AllocationStack, tmp_path: Path
) -> None:
    path, luck, stack = tmp_path / "picks.sqlite", random.Random(7), allocation_stack
    for number in range(5):
        stack.send(CreateBatch(batchref=f"b{number}", sku=f"SKU-{number % 2}", qty=300))
    with shipping(stack, path):
        wait_until(lambda: bound(stack), lambda: "no queue")
    for round_ in range(4):
        with shipping(stack, path) as process:
            for number in range(60):
                sku, orderid = f"SKU-{number % 2}", f"o{round_}-{number}"
                stack.send(Allocate(orderid=orderid, sku=sku, qty=luck.randrange(1, 9)))
                if luck.random() < 0.3:
                    stack.send(Deallocate(orderid=orderid, sku=sku))
            stack.send(ChangeBatchQuantity(batchref=f"b{round_}", qty=luck.randrange(50)))
            least = taken(path) + 30
            wait_until(lambda least=least: taken(path) >= least, lambda: f"{taken(path)} taken")  # type: ignore[misc] # mypy does not infer lambdas with defaults
            process.send_signal(signal.SIGKILL)
        announce_again(stack, luck.sample([each for each in stack.events() if isinstance(each, Allocated)], k=10))
    with shipping(stack, path):
        wait_until(
            lambda: left(stack) == 0 and listed(path) == decided(stack), lambda: f"{listed(path)}\n{stack.story()}"
        )
        moved = [each for each in stack.events() if isinstance(each, Deallocated) and each.reason != "cancelled"]
        assert moved
        assert len(listed(path)) > 50


def test_without_its_file_it_says_how_it_is_run() -> None:
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Name the broker and the file: AMQP_URL=")
    assert done.stderr.count("\n") == 1
