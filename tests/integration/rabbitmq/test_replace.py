"""A queue is moved to one with other arguments, while messages arrive, and whatever kills the program that does it."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pika.exceptions import NackError
from pika.spec import BasicProperties

from allocation_contracts.commands import COMMANDS
from allocation_contracts.names import COMMANDS_EXCHANGE, DEAD_LETTERS, ORDERS_QUEUE, RETRYING_EXCHANGE, STOCK_QUEUE
from allocation_worker.adapters.rabbitmq import topology, topology_check
from allocation_worker.adapters.rabbitmq.dead_letter_queue import open_dead_letters
from allocation_worker.adapters.rabbitmq.errors import BrokerError, ReplacementUnfinishedError, TopologyMissingError
from allocation_worker.adapters.rabbitmq.layout import Queue, layout, own_queues
from allocation_worker.adapters.rabbitmq.management import Management
from allocation_worker.adapters.rabbitmq.moving import Mover
from allocation_worker.adapters.rabbitmq.replace import Replacement, Timing
from allocation_worker.adapters.rabbitmq.replacing_names import MOVING_EXCHANGE, stand_in
from allocation_worker.adapters.rabbitmq.retry_queues import retry_queue
from allocation_worker.service_layer.outcomes import Done, Outcome
from harness.old_queues import make_old
from tests.integration.rabbitmq.rig import Place, Workers, eventually, running
from tests.raw_headers import TOO_LATE, allow

QUICK = Timing(counted=0.2, look=0.02, tell=0.0, quiet=0.05, patience=5.0, gate=0.03, straggler=0.1, gone=0.0)
KEYS = {STOCK_QUEUE: "create-batch", ORDERS_QUEUE: "allocate"}


class KilledError(Exception):
    """The program ends here."""


class Steps(Replacement):
    """A replacement that calls `then` after each step, with its number and its name."""

    then: Callable[[int, str], None]
    steps = 0

    def did(self, step: str) -> None:
        super().did(step)
        self.steps += 1
        self.then(self.steps, step)


def replacement(
    place: Place,
    queue: str,
    management: Management | None = None,
    *,
    then: Callable[[int, str], None] = lambda _number, _step: None,
    timing: Timing = QUICK,
    told: list[str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Steps:
    wanted = layout([1])
    found = wanted.queue(queue)
    assert found is not None
    on_progress = (lambda _: None) if told is None else told.append
    found = Queue(queue, {**found.arguments, **(arguments or {})})
    made = Steps([place.url], found, wanted, own_queues([1]), management, on_progress=on_progress, timing=timing)
    made.then = then
    return made


@dataclass
class Shop:
    """Publishes numbered commands. What is refused is not counted."""

    place: Place
    queue: str
    confirmed: list[str] = field(default_factory=list)
    refused: int = 0

    def send(self) -> None:
        name = f"{len(self.confirmed):04}"
        properties = BasicProperties(message_id=name, delivery_mode=2)
        try:
            self.place.channel.basic_publish(
                COMMANDS_EXCHANGE, KEYS[self.queue], name.encode(), properties, mandatory=True
            )
        except NackError:
            self.refused += 1
        else:
            self.confirmed.append(name)


def consumed(place: Place, queue: str, count: int) -> list[object]:
    """What a consumer of this version gets, in its order."""
    workers = Workers([place.url], [queue], lambda _: Done(), unordered=[])
    with running(workers):
        eventually(lambda: len(set(workers.ids)) >= count)
        eventually(lambda: place.depth(queue) == 0)
    return workers.ids


def names_of(management: Management) -> set[str]:
    found = {queue["name"] for queue in management._get("queues", "?disable_stats=true")}
    return found | {binding.source for binding in management.bindings()}


def assert_nothing_is_left(place: Place, management: Management) -> None:
    assert topology_check.check([place.url], [1], management).findings == []
    assert [name for name in names_of(management) if "replacing" in name] == []
    for exchange in (MOVING_EXCHANGE, stand_in(STOCK_QUEUE), stand_in(ORDERS_QUEUE)):
        assert not topology.exchange_exists([place.url], exchange)


STEPS = {
    queue: 28 + 3 * sum(queue == command.QUEUE for command in COMMANDS.values())
    for queue in (STOCK_QUEUE, ORDERS_QUEUE)
}
"""So many steps has a replacement of a queue that nobody consumes: three of them for each command."""


@pytest.mark.parametrize(
    ("queue", "kill_after"),
    [
        *((STOCK_QUEUE, range(first, first + 6)) for first in range(1, STEPS[STOCK_QUEUE] + 2, 6)),
        (ORDERS_QUEUE, range(2, STEPS[ORDERS_QUEUE], 7)),
    ],
)
def test_whatever_step_it_is_killed_after_all_messages_arrive_once_and_in_order(
    place: Place, management: Management, queue: str, kill_after: range
) -> None:
    """A message is published in each state that the broker is in; each step is once the last one of a run."""
    for last in kill_after:
        make_old(place.channel, queue)
        shop = Shop(place, queue)
        for _ in range(3):
            shop.send()

        def publish_and_die(number: int, step: str, shop: Shop = shop, last: int = last) -> None:
            shop.send()
            if number == last:
                raise KilledError(step)

        def publish(_number: int, _step: str, shop: Shop = shop) -> None:
            shop.send()

        first = replacement(place, queue, then=publish_and_die)
        died = ""
        try:
            first.run()
        except KilledError as error:
            died = str(error)
        assert bool(died) == (last <= STEPS[queue])
        shop.send()
        replacement(place, queue, then=publish).run()
        shop.send()
        assert consumed(place, queue, len(shop.confirmed)) == shop.confirmed, f"killed after: {died}"
        assert shop.refused <= (4 if queue == STOCK_QUEUE else 0), died
        assert place.depth(DEAD_LETTERS) == 0
        assert_nothing_is_left(place, management)


def test_what_was_moved_when_it_failed_may_be_moved_again_and_nothing_overtakes_it(place: Place) -> None:
    make_old(place.channel, STOCK_QUEUE)
    shop = Shop(place, STOCK_QUEUE)
    for _ in range(2_000):
        shop.send()

    class Killed(Mover):
        def _ack(self, held: Any) -> None:
            if self.moved == 700:
                raise KilledError
            super()._ack(held)

    first = replacement(place, STOCK_QUEUE)
    first._mover = lambda source, exchange: Killed(  # type: ignore[method-assign]
        [place.url], source, exchange, queue=STOCK_QUEUE, ours=(MOVING_EXCHANGE, first._rest)
    )
    with pytest.raises(KilledError):
        first.run()
    replacement(place, STOCK_QUEUE).run()
    got = consumed(place, STOCK_QUEUE, 2_000)
    assert len(got) - 2_000 <= 1_000
    assert list(dict.fromkeys(got)) == shop.confirmed


def test_it_waits_for_what_consumers_hold(place: Place, management: Management) -> None:
    make_old(place.channel, STOCK_QUEUE, **{"x-single-active-consumer": True})
    shop = Shop(place, STOCK_QUEUE)
    let_go = threading.Event()
    told: list[str] = []

    def hold(_delivery: object) -> Outcome:
        let_go.wait(60)
        return Done()

    # The broker counts what consumers hold every 5 s.
    timing = replace(QUICK, counted=6.0, look=0.1, gone=Timing().gone)
    made = replacement(place, STOCK_QUEUE, management, timing=timing, told=told)
    workers = Workers([place.url], [STOCK_QUEUE], hold, unordered=[])
    workers.limit = 2
    with running(workers):
        for _ in range(10):
            shop.send()
        eventually(lambda: place.depth(STOCK_QUEUE) == 0)
        thread = threading.Thread(target=made.run)
        thread.start()
        eventually(lambda: any("10 in the hands of 1 consumer" in sentence for sentence in told), within=30)
        for _ in range(5):
            shop.send()
        assert thread.is_alive()
        let_go.set()
        thread.join(60)
        assert not thread.is_alive()
        shop.send()
        eventually(lambda: len(workers.ids) >= len(shop.confirmed))
    assert workers.ids == shop.confirmed
    assert_nothing_is_left(place, management)


def test_a_consumer_at_work_consumes_each_new_queue(place: Place, management: Management) -> None:
    """If one were declared too soon after the old one was deleted, the broker would often give it no consumer."""
    shop = Shop(place, ORDERS_QUEUE)
    workers = Workers([place.url], [ORDERS_QUEUE], lambda _: Done())
    timing = replace(QUICK, gone=Timing().gone)
    with running(workers):
        for version in range(4):
            other = {"x-max-length": 10_000 + version}
            replacement(place, ORDERS_QUEUE, management, timing=timing, arguments=other).run()
            for _ in range(3):
                shop.send()
            eventually(lambda: set(workers.ids) == set(shop.confirmed), within=30)


def test_without_the_management_api_nobody_may_consume(place: Place) -> None:
    make_old(place.channel, ORDERS_QUEUE)
    shop = Shop(place, ORDERS_QUEUE)
    workers = Workers([place.url], [ORDERS_QUEUE], lambda _: Done())
    with running(workers):
        eventually(lambda: workers.consuming)
        with pytest.raises(BrokerError, match=r"1 programs consume allocation\.orders, .* ALLOCATION_MANAGEMENT_URL"):
            replacement(place, ORDERS_QUEUE).run()
        shop.send()
    assert workers.ids == []
    with pytest.raises(ReplacementUnfinishedError, match=r"topology --replace allocation\.orders` goes on"):
        topology.declare([place.url], retry_delays=[1])
    [finding] = topology_check.check([place.url], [1]).findings[-1:]
    assert finding.kind == "replacement-unfinished"
    with pytest.raises(ReplacementUnfinishedError, match=r"allocation\.orders is being replaced"):
        replacement(place, STOCK_QUEUE).run()
    replacement(place, ORDERS_QUEUE).run()
    assert consumed(place, ORDERS_QUEUE, 1) == shop.confirmed


def test_a_queue_that_has_the_right_arguments_is_left_as_it_is(place: Place) -> None:
    place.send("kept")
    assert replacement(place, ORDERS_QUEUE).run() is None
    assert place.depth(ORDERS_QUEUE) == 1


def test_a_queue_that_does_not_exist_is_told(place: Place) -> None:
    place.channel.queue_delete(ORDERS_QUEUE)
    with pytest.raises(TopologyMissingError, match=r"The queue allocation\.orders does not exist"):
        replacement(place, ORDERS_QUEUE).run()


def test_a_binding_that_somebody_else_has_made_is_kept(place: Place, management: Management) -> None:
    make_old(place.channel, ORDERS_QUEUE)
    place.channel.exchange_declare("legacy", "direct", durable=True)
    place.channel.queue_bind(ORDERS_QUEUE, "legacy", "order")
    replacement(place, ORDERS_QUEUE, management).run()
    place.channel.basic_publish("legacy", "order", b"", BasicProperties(message_id="from legacy"), mandatory=True)
    assert consumed(place, ORDERS_QUEUE, 1) == ["from legacy"]
    place.channel.exchange_delete("legacy")


def test_dead_letters_keep_their_reasons(place: Place, management: Management) -> None:
    make_old(place.channel, DEAD_LETTERS, **{"x-overflow": "reject-publish"})
    place.send("nowhere", key="misspelt", headers={"x-reason": "forged", "x-moved-from-exchange": DEAD_LETTERS})
    ours = {"x-reason": "invalid-json", "x-original-queue": ORDERS_QUEUE}
    properties = BasicProperties(message_id="ours", headers=ours)
    place.channel.basic_publish(DEAD_LETTERS, "allocate", b"{", properties)
    eventually(lambda: place.depth(DEAD_LETTERS) == 2)

    def letters() -> list[tuple[object, ...]]:
        with open_dead_letters([place.url], lambda _read, _all: None) as held:
            return [(each.id, each.message_id, each.reason, each.detail, each.queue, each.destination) for each in held]

    before = letters()
    assert [each[2] for each in before] == ["unroutable", "invalid-json"]
    assert replacement(place, DEAD_LETTERS).run() == 2
    assert letters() == before
    assert_nothing_is_left(place, management)


@pytest.fixture
def retried(place: Place) -> None:
    """A message that has failed twice and is back in its queue, and one that claims the same."""
    make_old(place.channel, ORDERS_QUEUE)
    properties = BasicProperties(message_id="failed", delivery_mode=2, headers={"x-attempts": 2})
    waiting = retry_queue(ORDERS_QUEUE, 1)
    place.channel.basic_publish(RETRYING_EXCHANGE, waiting, b"{}", properties, mandatory=True)
    eventually(lambda: place.depth(ORDERS_QUEUE) == 1)
    forged: dict[str, Any] = {
        "x-attempts": 2,
        "x-first-death-queue": waiting,
        "x-moved-from-exchange": RETRYING_EXCHANGE,
        "CC": ["allocate"],
    }
    properties = BasicProperties(message_id="forged", delivery_mode=2, headers=forged)
    place.channel.basic_publish(COMMANDS_EXCHANGE, ORDERS_QUEUE, b"{}", properties, mandatory=True)


@pytest.mark.usefixtures("retried")
def test_a_message_that_failed_before_keeps_its_attempts_and_nobody_can_claim_them(place: Place) -> None:
    replacement(place, ORDERS_QUEUE).run()
    workers = Workers([place.url], [ORDERS_QUEUE], lambda _: Done())
    with running(workers):
        eventually(lambda: len(workers.ids) == 2)
    assert [(each.properties.message_id, each.retried, each.attempts) for each in workers.deliveries] == [
        ("failed", True, 2),
        ("forged", False, 0),
    ]
    assert all("x-moved-from-exchange" not in (each.properties.headers or {}) for each in workers.deliveries)


def test_what_pika_cannot_read_is_moved_into_the_dead_letters(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch)
    make_old(place.channel, ORDERS_QUEUE)
    place.send("before")
    place.send("unreadable", headers={"h": TOO_LATE})
    place.send("behind")
    replacement(place, ORDERS_QUEUE).run()
    assert consumed(place, ORDERS_QUEUE, 2) == ["before", "behind"]
    [(properties, body)] = place.dead_letters()
    assert (properties.message_id, body) == ("unreadable", b"body of unreadable")
    assert (properties.headers or {})["x-reason"] == "undecodable-headers"
    assert (properties.headers or {})["x-original-queue"] == ORDERS_QUEUE
