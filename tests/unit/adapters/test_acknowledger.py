"""The deliveries that are acked, the number of acks, and their time."""

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, cast

import pytest
from pika.spec import BasicProperties

from allocation_contracts.amqp.confirms import OnResult
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.acknowledger import Acknowledger
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.service_layer.outcomes import DeadLettered, Done, LockedProduct, SetAside

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_BACK = 32
"""More acks than this at a time are kept back inside the broker, and forgotten with the channel."""


def delivery(tag: int) -> Delivery:
    return Delivery(
        tag=tag,
        queue="allocation.orders",
        generation=1,
        body=b"{}",
        failures=0,
        routing_key="allocate",
        exchange="allocation.commands",
        properties=BasicProperties(message_id=str(tag)),
    )


class Channel:
    """A channel that records acks."""

    is_open = True

    def __init__(self) -> None:
        self.acks: list[tuple[int, bool]] = []

    def basic_ack(self, tag: int, *, multiple: bool) -> None:
        self.acks.append((tag, multiple))


class Bench:
    """An Acknowledger whose copies are confirmed, and whose timers fire, when a test says so."""

    def __init__(self) -> None:
        self.channel = Channel()
        self.confirms: dict[str, OnResult] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.acknowledger = Acknowledger(
            cast("Any", self.channel),
            frame_max=131_072,
            publish=self._publish,
            call_later=lambda delay, function: self.timers.append((delay, function)),
        )

    def dead_letter(self, *tags: int) -> None:
        self.acknowledger.ack([(delivery(tag), DeadLettered(reason="r", detail="d")) for tag in tags])

    def done(self, *tags: int) -> None:
        self.acknowledger.ack([(delivery(tag), Done()) for tag in tags])

    def set_aside(self, *tags: int) -> None:
        self.acknowledger.ack([(delivery(tag), SetAside(LockedProduct("CHAIR", "1"))) for tag in tags])

    def confirm(self, *tags: int) -> None:
        for tag in tags:
            self.confirms.pop(str(tag))(PublishResult.CONFIRMED)

    def refuse(self, *tags: int) -> None:
        for tag in tags:
            self.confirms.pop(str(tag))(PublishResult.NACKED)

    def turn(self) -> list[tuple[int, bool]]:
        """Fire the timers that are due now, and return the acks of this turn."""
        self.channel.acks.clear()
        timers, self.timers = self.timers, []
        for _, function in timers:
            function()
        return list(self.channel.acks)

    def _publish(self, _exchange: str, _key: str, _body: bytes, properties: BasicProperties, answer: OnResult) -> None:
        self.confirms[str(properties.message_id)] = answer


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_has_no_gap_before_it_is_acked_by_one_ack(bench: Bench) -> None:
    bench.done(1, 2, 3)
    bench.dead_letter(4)
    bench.confirm(4)
    bench.done(5)
    assert bench.turn() == [(5, True)]


def test_nothing_is_acked_before_its_copy_is_confirmed(bench: Bench) -> None:
    bench.dead_letter(1)
    bench.done(2)
    assert bench.turn() == []


def test_a_message_whose_copy_is_confirmed_is_acked_behind_a_gap(bench: Bench) -> None:
    bench.dead_letter(3)
    bench.turn()
    bench.confirm(3)
    assert bench.turn() == [(3, False)]


def test_a_message_that_was_acked_alone_is_not_acked_again(bench: Bench) -> None:
    bench.dead_letter(2)
    bench.confirm(2)
    assert bench.turn() == [(2, False)]
    bench.done(1)
    assert bench.turn() == [(1, True)]
    bench.done(3)
    assert bench.turn() == [(3, True)]


def test_done_messages_behind_a_gap_wait_for_it(bench: Bench) -> None:
    bench.done(2, 3)
    assert bench.turn() == []


def test_a_swarm_behind_a_gap_is_acked_bit_by_bit_and_idle_comes_last(bench: Bench) -> None:
    swarm = range(2, 202)
    idle: list[bool] = []
    bench.dead_letter(*swarm)
    bench.turn()
    bench.confirm(*swarm)
    bench.acknowledger.when_idle(lambda: idle.append(True))
    turns = []
    while bench.timers:
        assert not idle
        turns.append(bench.turn())
    assert idle
    assert all(len(acks) <= KEPT_BACK for acks in turns)
    assert [ack for acks in turns for ack in acks] == [(tag, False) for tag in swarm]


def test_a_gap_that_closes_ends_the_single_acks(bench: Bench) -> None:
    swarm = range(2, 202)
    bench.dead_letter(*swarm)
    bench.turn()
    bench.confirm(*swarm)
    alone = bench.turn()
    bench.done(1)
    assert bench.turn() == [(201, True)]
    assert 0 < len(alone) <= KEPT_BACK
    assert bench.turn() == []


def test_a_destination_that_refuses_is_tried_with_one_copy_after_ever_longer_pauses(
    bench: Bench, logs: list[MutableMapping[str, Any]]
) -> None:
    bench.dead_letter(*range(1, 101))
    bench.turn()
    bench.refuse(*range(1, 101))
    pauses = []
    for _ in range(7):
        [(pause, _)] = bench.timers
        pauses.append(pause)
        bench.turn()
        assert list(bench.confirms) == ["1"]
        bench.refuse(1)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    bench.turn()
    bench.confirm(1)
    assert len(bench.confirms) == 99
    bench.confirm(*range(2, 101))
    assert bench.turn() == [(100, True)]
    assert [line["event"] for line in logs] == ["copy_not_taken", "copies_taken_again"]


def test_copies_confirmed_meanwhile_do_not_end_the_pause(bench: Bench) -> None:
    bench.dead_letter(1, 2, 3)
    bench.turn()
    bench.refuse(1)
    bench.confirm(2)
    bench.dead_letter(4)
    assert list(bench.confirms) == ["3"]


def test_done_messages_behind_one_that_is_set_aside_do_not_wait_for_it(bench: Bench) -> None:
    bench.done(1)
    bench.set_aside(2)
    bench.done(3, 4)
    assert bench.turn() == [(1, True), (3, False), (4, False)]
    bench.done(2)
    assert bench.turn() == [(2, True)]
    bench.done(5)
    assert bench.turn() == [(5, True)]


def test_many_behind_one_that_is_set_aside_are_acked_by_halves_and_the_last_ones_are_few(bench: Bench) -> None:
    bench.set_aside(1)
    bench.done(*range(2, 1002))
    turns = []
    while bench.timers:
        turns.append([tag for tag, _ in bench.turn()])
    assert [tag for turn in turns for tag in turn] == list(range(2, 1002))
    assert len(turns) < 10
    assert len(turns[-1]) <= KEPT_BACK


def test_one_that_is_set_aside_twice_is_acked_once(bench: Bench) -> None:
    bench.set_aside(1)
    bench.set_aside(1)
    bench.done(1, 2)
    assert bench.turn() == [(2, True)]
    assert bench.turn() == []
