"""The letters beside the real allocation worker: one for each change, whatever happens on the way."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import ANY

import pika
import pytest

from allocation_contracts import (
    CAUSATION_ID_HEADER,
    Allocate,
    Allocated,
    Backordered,
    BatchCreated,
    BatchQuantityChanged,
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
from promise import QUEUE, Letters

PROGRAM = Path(__file__).parents[1] / "promise.py"

JUNE, JULY = date(2030, 6, 1), date(2030, 7, 1)

# The program, which is killed around the commit of its second letter.
KILLED = """
import os, signal, sys

import promise


class Killed(promise.Letters):
    def __setitem__(self, sku, position):
        doomed = len(self.written()) == 2
        if doomed and sys.argv[1] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        super().__setitem__(sku, position)
        if doomed:
            os.kill(os.getpid(), signal.SIGKILL)


letters = Killed(sys.argv[2])
promise.Subscriber(os.environ["AMQP_URL"], promise.QUEUE, events=promise.LINE, positions=letters).run(letters.take)
"""


@contextmanager
def running(stack: AllocationStack, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program, taking from its queue."""
    with subprocess.Popen(
        [sys.executable, *arguments], env={**os.environ, "AMQP_URL": stack.amqp_url}, cwd=PROGRAM.parent
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "letters.sqlite"


@pytest.fixture
def stack(allocation_stack: AllocationStack, path: Path) -> AllocationStack:
    """The worker, and the program's queue."""
    with running(allocation_stack, PROGRAM, path):
        wait_until(lambda: consumers(allocation_stack) == 1, lambda: "no queue")
    wait_until(lambda: consumers(allocation_stack) == 0, lambda: "it is still there")
    return allocation_stack


def wait_until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


@contextmanager
def at_the_queue(stack: AllocationStack) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        yield connection.channel()


def consumers(stack: AllocationStack) -> int:
    """How many take from its queue; -1 if there is none. What is decided before there is one, it never sees."""
    with at_the_queue(stack) as channel:
        try:
            return channel.queue_declare(QUEUE, passive=True).method.consumer_count
        except pika.exceptions.ChannelClosedByBroker:
            return -1


def left(stack: AllocationStack) -> int:
    with at_the_queue(stack) as channel:
        return channel.queue_declare(QUEUE, passive=True).method.message_count


def announce_again(stack: AllocationStack, events: Sequence[Event]) -> None:
    """Bring events once more, however old."""
    with at_the_queue(stack) as channel:
        channel.confirm_delivery()
        for event in events:
            properties = pika.BasicProperties(
                type=event.TYPE, message_id="again", headers={CAUSATION_ID_HEADER: "again"}, delivery_mode=2
            )
            channel.basic_publish("", QUEUE, encode(event), properties, mandatory=True)


def written(path: Path) -> list[tuple[str, str, str, str]]:
    with closing((letters := Letters(str(path))).database):
        return letters.written()


def texts(path: Path) -> list[str]:
    return [letter for *_, letter in written(path)]


def wait_until_written(path: Path, *letters: str) -> None:
    wait_until(lambda: texts(path) == [*letters], lambda: str(texts(path)))


class Fed:
    """The letters of a program whose subscriber brings it what happened to one line, numbered in this order."""

    def __init__(self, *story: SkuEvent) -> None:
        self.letters = Letters(":memory:")
        self.story = [event.model_copy(update={"sequence": number}) for number, event in enumerate(story, start=1)]

    def bring(self, event: SkuEvent) -> None:
        position = self.letters.get(event.sku) or Position.before(event.sequence)
        self.letters.take(event, ANY)
        self.letters[event.sku] = position if position.has_seen(event.sequence) else position.after(event.sequence)

    @property
    def texts(self) -> list[str]:
        return [letter for *_, letter in self.letters.written()]


def allocated(batch: str, eta: date | None = None) -> SkuEvent:
    return Allocated(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref=batch, eta=eta, sequence=1)


def told(eta: date | None, previous: date | None) -> SkuEvent:
    return PromiseChanged(
        orderid="o1", sku="CHAIR", lineid="", qty=3, batchref="b1", eta=eta, previous_eta=previous, sequence=1
    )


def changed(batch: str | None, eta: date | None = None) -> SkuEvent:
    return LineQuantityChanged(
        orderid="o1", sku="CHAIR", lineid="", qty=2, previous_qty=3, batchref=batch, eta=eta, sequence=1
    )


def taken_off(reason: str = "batch-quantity-changed") -> SkuEvent:
    return Deallocated(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref="b1", reason=reason, sequence=1)


def held(eta: date | None = None) -> SkuEvent:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    return Held(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref="b1", eta=eta, until=until, sequence=1)


LAPSED = HoldLapsed(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref="b1", sequence=1)
WAITS = Backordered(orderid="o1", sku="CHAIR", lineid="", qty=3, largest_available=0, next_eta=None, sequence=1)
SOLD_OUT = OutOfStock(orderid="o1", sku="CHAIR", lineid="", qty=3, largest_available=0, next_eta=None, sequence=1)
SHIPPED = Shipped(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref="b1", sequence=1)

ON_JUNE = "Your order of 3 CHAIR will be here on 2030-06-01."
NOT_ON_JUNE = "Your order of 3 CHAIR will be here on 2030-07-01, not on 2030-06-01."
QUEUED = "Your order of 3 CHAIR is sold out, and you are in line for the next ones."
SORRY = "Your order of 3 CHAIR cannot be had, we are sorry."


@pytest.mark.parametrize(
    ("story", "letters"),
    [
        ([allocated("b1", JUNE)], [ON_JUNE]),
        ([allocated("b1", JUNE), told(JULY, JUNE)], [ON_JUNE, NOT_ON_JUNE]),
        ([allocated("b1", JUNE), told(None, JUNE)], [ON_JUNE, "Your order of 3 CHAIR is in stock."]),
        ([allocated("b1", JUNE), taken_off(), allocated("b2", JULY)], [ON_JUNE, NOT_ON_JUNE]),
        ([allocated("b1", JUNE), taken_off(), allocated("b2", JUNE)], [ON_JUNE]),
        ([allocated("b1", JUNE), taken_off("flooded"), allocated("b2", JULY)], [ON_JUNE, NOT_ON_JUNE]),
        ([allocated("b1", JUNE), taken_off(), WAITS], [ON_JUNE, QUEUED]),
        ([allocated("b1", JUNE), taken_off(), SOLD_OUT], [ON_JUNE, SORRY]),
        ([allocated("b1", JUNE), taken_off(), SOLD_OUT, allocated("b2", JULY)], [ON_JUNE, SORRY, ANY]),
        ([WAITS, allocated("b1")], [QUEUED, "Your order of 3 CHAIR is back in stock."]),
        ([WAITS, allocated("b1", JUNE)], [QUEUED, ON_JUNE]),
        ([WAITS, changed(None), WAITS], [QUEUED]),
        ([WAITS, changed("b1", JUNE)], [QUEUED, "Your order of 2 CHAIR will be here on 2030-06-01."]),
        ([SOLD_OUT, changed(None), allocated("b1", JUNE)], [ON_JUNE]),
        ([allocated("b1", JUNE), changed("b1", JUNE)], [ON_JUNE]),
        ([allocated("b1", JUNE), changed("b2")], [ON_JUNE, "Your order of 2 CHAIR is in stock."]),
        ([allocated("b1", JUNE), taken_off("cancelled")], [ON_JUNE]),
        ([allocated("b1"), SHIPPED], ["Your order of 3 CHAIR is in stock."]),
        ([held(JUNE), told(JULY, JUNE), changed("b1", JULY), LAPSED], []),
        ([held(JUNE), LAPSED, held(JULY), changed("b1", JULY)], []),
        ([held(JUNE), told(JULY, JUNE), allocated("b1", JULY)], ["Your order of 3 CHAIR will be here on 2030-07-01."]),
        ([held(JUNE), SOLD_OUT], []),
        ([held(JULY), WAITS, allocated("b1", JUNE)], [QUEUED, ON_JUNE]),
    ],
)
def test_a_customer_is_told_what_is_new(story: list[SkuEvent], letters: list[str]) -> None:
    fed = Fed(*story)
    with closing(fed.letters.database):
        for event in fed.story:
            for _ in range(3):
                fed.bring(event)
        assert fed.texts == letters


def test_nobody_is_told_the_old_day_after_the_new_one() -> None:
    fed = Fed(allocated("b1", JUNE), told(JULY, JUNE), told(JUNE, JULY))
    with closing(fed.letters.database):
        for index in (0, 2, 1):
            fed.bring(fed.story[index])
        assert fed.texts == [ON_JUNE]


def test_of_a_line_that_may_be_a_basket_nobody_is_told() -> None:
    fed = Fed(held(JUNE), told(JULY, JUNE), allocated("b1", JULY))
    with closing(fed.letters.database):
        fed.bring(fed.story[1])
        assert fed.texts == []
        fed.bring(fed.story[2])
        assert fed.texts == ["Your order of 3 CHAIR will be here on 2030-07-01."]


def has(stack: AllocationStack, batchref: str, qty: int, eta: date | None = None) -> None:
    stack.send(CreateBatch(batchref=batchref, sku="CHAIR", qty=qty, eta=eta))
    stack.expect(BatchCreated, batchref=batchref)


def test_a_ship_is_late(stack: AllocationStack, path: Path) -> None:
    with running(stack, PROGRAM, path):
        has(stack, "ship", 10, JUNE)
        has(stack, "shelf", 2)
        stack.send(Allocate(orderid="patient", sku="CHAIR", qty=3))
        stack.send(Allocate(orderid="urgent", sku="CHAIR", qty=3, needed_by=JUNE, wait=True))
        stack.send(Hold(orderid="basket", sku="CHAIR", qty=1, until=datetime.now(UTC) + timedelta(minutes=5)))
        stack.expect(Held)
        stack.send(ChangeBatchEta(batchref="ship", eta=JULY))
        wait_until_written(path, ON_JUNE, ON_JUNE, NOT_ON_JUNE, QUEUED)
        stack.send(ChangeBatchQuantity(batchref="shelf", qty=9))
        wait_until_written(path, ON_JUNE, ON_JUNE, NOT_ON_JUNE, QUEUED, "Your order of 3 CHAIR is back in stock.")
        assert [orderid for orderid, *_ in written(path)] == ["patient", "urgent", "patient", "urgent", "urgent"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_commit_of_a_letter_it_writes_it_once(stack: AllocationStack, path: Path, when: str) -> None:
    has(stack, "ship", 10, JUNE)
    for orderid in ("o1", "o2", "o3"):
        stack.send(Allocate(orderid=orderid, sku="CHAIR", qty=3))
    with running(stack, "-c", KILLED, when, path) as victim:
        assert victim.wait(30) == -signal.SIGKILL
    assert texts(path) == [ON_JUNE] * (1 if when == "before" else 2)
    with running(stack, PROGRAM, path):
        wait_until_written(path, ON_JUNE, ON_JUNE, ON_JUNE)
        wait_until(lambda: left(stack) == 0, lambda: f"{left(stack)} left")
    assert [orderid for orderid, *_ in written(path)] == ["o1", "o2", "o3"]


def decided(events: Sequence[Event]) -> list[tuple[str, str, str, str]]:
    """The letters, had each event come once, in its order, to a program that never ends."""
    fed = Fed()
    with closing(fed.letters.database):
        numbered = {(each.sku, each.sequence): each for each in events if not isinstance(each, CommandRejected)}
        for _, event in sorted(numbered.items()):
            fed.bring(event)
        return fed.letters.written()


def test_each_change_is_told_once_through_kills_and_repeats(stack: AllocationStack, path: Path) -> None:
    luck = random.Random(11)
    until = datetime.now(UTC) + timedelta(hours=1)
    for number in range(5):
        stack.send(CreateBatch(batchref=f"b{number}", sku=f"SKU-{number % 2}", qty=250, eta=JUNE if number else None))
    for round_ in range(4):
        least = len(written(path)) + 20
        with running(stack, PROGRAM, path) as process:
            for number in range(60):
                sku, orderid, qty = f"SKU-{number % 2}", f"o{round_}-{number}", luck.randrange(1, 9)
                if luck.random() < 0.3:
                    stack.send(Hold(orderid=orderid, sku=sku, qty=qty, until=until))
                if luck.random() < 0.8:
                    needed_by = luck.choice([None, None, JUNE])
                    stack.send(
                        Allocate(orderid=orderid, sku=sku, qty=qty, wait=luck.random() < 0.5, needed_by=needed_by)
                    )
                if luck.random() < 0.2:
                    stack.send(ChangeLineQuantity(orderid=orderid, sku=sku, qty=luck.randrange(1, 9)))
                if luck.random() < 0.1:
                    stack.send(Deallocate(orderid=orderid, sku=sku))
                elif luck.random() < 0.1:
                    stack.send(Ship(orderid=orderid, sku=sku))
            stack.send(ChangeBatchEta(batchref=f"b{round_ + 1}", eta=luck.choice([JULY, None])))
            stack.send(ChangeBatchQuantity(batchref=f"b{round_}", qty=luck.randrange(50)))
            stack.send(ChangeBatchQuantity(batchref=f"b{round_ + 1}", qty=luck.randrange(300, 400)))
            wait_until(lambda least=least: len(written(path)) >= least, lambda: f"{len(written(path))} letters")  # type: ignore[misc] # mypy does not infer lambdas with defaults
            process.send_signal(signal.SIGKILL)
        announce_again(stack, luck.sample([each for each in stack.events() if isinstance(each, Allocated)], k=10))
    stack.expect(BatchQuantityChanged, batchref="b4", within=30)
    with running(stack, PROGRAM, path):
        wait_until(
            lambda: left(stack) == 0 and written(path) == decided(stack.events()),
            lambda: f"{set(written(path)) ^ set(decided(stack.events()))}\n{stack.story()}",
        )
    assert {Held, LineQuantityChanged, PromiseChanged, Backordered} <= {type(each) for each in stack.events()}
    assert len(set(written(path))) > 100
    for words in (" will be here on 2030-06-01.", " is sold out, and ", ", not on "):
        assert any(words in letter for letter in texts(path)), words


def test_without_its_file_it_says_how_it_is_run() -> None:
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Name the broker and the file: AMQP_URL=")
    assert done.stderr.count("\n") == 1
