"""Subscribing with `allocation_contracts.amqp.Subscriber`, as an external program does."""

import json
import shelve
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from allocation_contracts import (
    EVENTS,
    EVENTS_EXCHANGE,
    Allocated,
    BatchCreated,
    CommandRejected,
    Event,
    EventProperties,
    GapError,
    Position,
    encode,
)
from allocation_contracts.amqp import Subscriber, SubscriptionError
from allocation_contracts.amqp.queues import NO_DELIVERY_LIMIT
from allocation_contracts.names import PARKING_EXCHANGE
from tests.integration.rabbitmq.rig import Place, eventually

QUEUE = "shipping"


def allocated(sequence: int, sku: str = "CHAIR") -> Allocated:
    return Allocated(orderid="o", sku=sku, lineid="", qty=1, batchref="b", eta=None, sequence=sequence)


REJECTED = CommandRejected(command="allocate.v1", reason="unknown-sku", detail="No.", data={})


class Shipping:
    """A subscriber at work in a thread, and what it was handed."""

    def __init__(self, url: str, **options: Any) -> None:
        self.events: list[Event] = []
        self.properties: list[EventProperties] = []
        self.repeats: list[Event] = []
        self.error: BaseException | None = None
        self.handle: Callable[[Event], None] = lambda _event: None
        self.subscriber = Subscriber(
            url, QUEUE, on_repeat=lambda event, _properties: self.repeats.append(event), **options
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    @property
    def sequences(self) -> list[int]:
        return [event.sequence for event in self.events if not isinstance(event, CommandRejected)]

    def stop(self) -> None:
        self.subscriber.stop()
        self.join()

    def join(self) -> None:
        self.thread.join(15)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        try:
            self.subscriber.run(self._take)
        except Exception as error:  # noqa: BLE001 - for the test to look at
            self.error = error

    def _take(self, event: Event, properties: EventProperties) -> None:
        self.handle(event)
        self.events.append(event)
        self.properties.append(properties)


class Worker:
    """Publishes events, in place of the relay."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def announce(self, *events: Event, causation_id: str = "command") -> None:
        for event in events:
            self.announce_raw(encode(event), event.TYPE, event.ROUTING_KEY, causation_id)

    def announce_raw(self, body: bytes, type_: str, key: str = "allocated", causation_id: str | None = "c") -> None:
        properties = pika.BasicProperties(
            message_id="event-1",
            type=type_,
            content_type="application/json",
            correlation_id="conversation",
            headers={
                "causation_id": causation_id,
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            }
            if causation_id
            else None,
            timestamp=1_700_000_000,
            delivery_mode=2,
        )
        self.place.channel.basic_publish(EVENTS_EXCHANGE, key, body, properties, mandatory=True)


@pytest.fixture
def worker(place: Place) -> Worker:
    return Worker(place)


@pytest.fixture
def start(place: Place) -> Iterator[Callable[..., Shipping]]:
    started: list[Shipping] = []

    def start(**options: Any) -> Shipping:
        shipping = Shipping(place.url, **options)
        started.append(shipping)
        eventually(lambda: consuming(place) or shipping.error)
        return shipping

    yield start
    for each in started:
        each.stop()


def consuming(place: Place) -> bool:
    channel = place.new_channel()
    try:
        return bool(channel.queue_declare(QUEUE, passive=True).method.consumer_count)
    except pika.exceptions.ChannelClosedByBroker:
        return False


def test_it_hands_over_typed_events_with_their_properties_and_empties_its_queue(
    place: Place, worker: Worker, start: Callable[..., Shipping]
) -> None:
    shipping = start()
    worker.announce(allocated(1), REJECTED)
    eventually(lambda: len(shipping.events) == 2)
    assert shipping.events == [allocated(1), REJECTED]
    assert shipping.properties[0] == EventProperties(
        message_id="event-1",
        type="allocated.v1",
        correlation_id="conversation",
        causation_id="command",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        timestamp=1_700_000_000,
    )
    shipping.stop()
    assert shipping.error is None
    assert place.depth(QUEUE) == 0


def test_what_comes_while_it_is_away_waits_for_it(worker: Worker, start: Callable[..., Shipping]) -> None:
    start().stop()
    worker.announce(*map(allocated, range(1, 500)))
    shipping = start()
    eventually(lambda: len(shipping.events) == 499)
    assert shipping.sequences == list(range(1, 500))


def test_it_hands_over_the_types_that_are_wanted_and_sees_no_gap_where_others_stand(
    worker: Worker, start: Callable[..., Shipping]
) -> None:
    shipping = start(events=[Allocated])
    worker.announce(
        BatchCreated(batchref="b", sku="CHAIR", qty=1, eta=None, sequence=1),
        allocated(2),
        BatchCreated(batchref="b2", sku="CHAIR", qty=1, eta=None, sequence=3),
        allocated(4),
    )
    eventually(lambda: shipping.sequences == [2, 4])
    worker.announce(REJECTED, allocated(5))
    eventually(lambda: shipping.sequences == [2, 4, 5])


def test_only_rejections_can_be_wanted(worker: Worker, start: Callable[..., Shipping]) -> None:
    shipping = start(events=[CommandRejected])
    worker.announce(REJECTED)
    eventually(lambda: shipping.events == [REJECTED])
    with pytest.raises(pika.exceptions.UnroutableError):
        worker.announce(allocated(1))


def test_a_repeat_is_dropped_and_told(worker: Worker, start: Callable[..., Shipping]) -> None:
    shipping = start()
    worker.announce(allocated(1), allocated(2), allocated(1), allocated(1, "TABLE"), allocated(3))
    eventually(lambda: len(shipping.events) == 4)
    assert shipping.events == [allocated(1), allocated(2), allocated(1, "TABLE"), allocated(3)]
    assert shipping.repeats == [allocated(1)]


def test_a_gap_ends_it_and_nothing_of_it_is_lost(place: Place, worker: Worker, start: Callable[..., Shipping]) -> None:
    shipping = start(patience=0.2)
    worker.announce(allocated(7), allocated(10), allocated(11))
    shipping.join()
    assert isinstance(shipping.error, GapError)
    assert (shipping.error.sku, shipping.error.expected, shipping.error.got) == ("CHAIR", 8, 10)
    assert shipping.sequences == [7]
    eventually(lambda: place.depth(QUEUE) == 2)


def test_what_comes_too_early_waits_for_what_comes_late(worker: Worker, start: Callable[..., Shipping]) -> None:
    shipping = start(patience=15)
    worker.announce(*map(allocated, (1, 4, 3, 4)), allocated(1, "TABLE"), *map(allocated, (2, 3, 5)))
    eventually(lambda: len(shipping.events) == 6)
    assert shipping.events == [allocated(1), allocated(1, "TABLE"), *map(allocated, (2, 3, 4, 5))]
    assert shipping.repeats == [allocated(4), allocated(3)]


def test_where_gaps_are_only_told_work_goes_on_and_what_was_missing_is_taken_when_it_comes(
    worker: Worker, start: Callable[..., Shipping]
) -> None:
    gaps: list[GapError] = []
    shipping = start(on_gap=gaps.append, patience=0.2)
    worker.announce(*map(allocated, (1, 6, 4)))
    eventually(lambda: len(shipping.events) == 3)
    worker.announce(*map(allocated, (2, 7, 2, 5)))
    eventually(lambda: len(shipping.events) == 6)
    assert [(gap.sku, gap.expected, gap.got) for gap in gaps] == [("CHAIR", 2, 4), ("CHAIR", 5, 6)]
    assert shipping.sequences == [1, 4, 6, 2, 7, 5]
    assert shipping.repeats == [allocated(2)]


def test_positions_from_outside_know_what_an_earlier_run_has_seen(
    worker: Worker, start: Callable[..., Shipping]
) -> None:
    positions = {"CHAIR": Position(5), "TABLE": Position(0)}
    gaps: list[GapError] = []
    shipping = start(positions=positions, on_gap=gaps.append, patience=0.2)
    worker.announce(allocated(5), allocated(6), allocated(2, "TABLE"))
    eventually(lambda: len(shipping.events) == 2)
    assert shipping.repeats == [allocated(5)]
    assert [gap.expected for gap in gaps] == [1]
    shipping.stop()
    assert positions == {"CHAIR": Position(6), "TABLE": Position(2, (range(1, 2),))}


def test_positions_can_be_kept_in_a_shelve(
    place: Place, worker: Worker, start: Callable[..., Shipping], tmp_path: Path
) -> None:
    """From Python 3.13 on it is used by the thread that opened it, and by no other."""
    start(positions={}).stop()  # it leaves its queue
    worker.announce(allocated(1))
    with shelve.open(str(tmp_path / "positions")) as positions:  # noqa: S301 - our own file
        subscriber = Subscriber(place.url, QUEUE, positions=positions)
        subscriber.run(lambda _event, _properties: subscriber.stop())
    with shelve.open(str(tmp_path / "positions")) as positions:  # noqa: S301 - our own file
        assert dict(positions) == {"CHAIR": Position(1)}


@pytest.mark.parametrize("attempt", range(3))
def test_an_event_whose_handler_failed_comes_again_and_what_followed_it_stays_behind_it(
    place: Place, worker: Worker, start: Callable[..., Shipping], attempt: int
) -> None:
    """RabbitMQ 3.10 gives them back in another order, more often than not."""

    def fail_at_two(event: Event) -> None:
        if event == allocated(2):
            raise ZeroDivisionError

    positions: dict[str, Position] = {}
    first = start(positions=positions)
    first.handle = fail_at_two
    worker.announce(*map(allocated, (1, 2, 3)))
    first.join()
    assert isinstance(first.error, ZeroDivisionError)
    eventually(lambda: place.depth(QUEUE) == 2)
    second = start(positions=positions)
    eventually(lambda: len(second.events) == 2)
    assert second.sequences == [2, 3], attempt


def test_without_lasting_positions_what_comes_again_may_be_out_of_order_and_none_is_lost(
    place: Place, worker: Worker, start: Callable[..., Shipping]
) -> None:
    start().stop()
    worker.announce(*map(allocated, (3, 2, 4)))
    shipping = start()
    eventually(lambda: len(shipping.events) == 3)
    assert shipping.sequences == [3, 2, 4]
    assert place.depth(QUEUE) == 0


def test_an_event_is_not_acknowledged_before_its_handler_has_returned(
    place: Place, worker: Worker, start: Callable[..., Shipping]
) -> None:
    entered, leave = threading.Event(), threading.Event()
    shipping = start()

    def linger(_event: Event) -> None:
        entered.set()
        leave.wait(60)

    shipping.handle = linger
    worker.announce(allocated(1))
    assert entered.wait(60)
    standby = start()
    place.channel.queue_purge(QUEUE)  # takes what nobody has in hand: nothing
    leave.set()
    eventually(lambda: shipping.sequences == [1])
    assert standby.events == []


BROKEN = {
    "no JSON": (b"{", "allocated.v1", "c"),
    "a field missing": (b'{"sku": "CHAIR"}', "allocated.v1", "c"),
    "no cause": (encode(allocated(1)), "allocated.v1", None),
    "no type": (encode(allocated(1)), "", "c"),
    "no JSON, of an unknown type": (b"{", "gift-wrapped.v1", "c"),
}


@pytest.mark.parametrize(("body", "type_", "causation_id"), BROKEN.values(), ids=BROKEN)
def test_an_event_that_breaks_the_contract_is_parked_as_it_was_and_its_neighbours_are_handed_over(
    place: Place,
    worker: Worker,
    start: Callable[..., Shipping],
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    type_: str,
    causation_id: str | None,
) -> None:
    shipping = start()
    worker.announce(allocated(1))
    worker.announce_raw(body, type_, causation_id=causation_id)
    worker.announce(allocated(2))
    eventually(lambda: shipping.sequences == [1, 2])
    eventually(lambda: place.depth(shipping.subscriber.parked) == 1)
    ((properties, parked),) = place.take_all(shipping.subscriber.parked)
    assert (parked, properties.message_id) == (body, "event-1")
    assert "event_parked queue=shipping.parked message_id=event-1 " in caplog.text
    shipping.stop()
    assert place.depth(QUEUE) == 0


def test_unknown_fields_are_ignored(place: Place, worker: Worker, start: Callable[..., Shipping]) -> None:
    shipping = start()
    worker.announce_raw(encode(allocated(1))[:-1] + b', "colour": "red"}', "allocated.v1")
    eventually(lambda: shipping.events == [allocated(1)])
    shipping.stop()
    assert place.depth(QUEUE) == place.depth(shipping.subscriber.parked) == 0


def gift_wrapped(worker: Worker, sequence: int, sku: str = "CHAIR") -> None:
    """Announce an event of a type that a later version of the worker may add."""
    body = json.dumps({"orderid": "o", "sku": sku, "paper": 3, "sequence": sequence}).encode()
    worker.announce_raw(body, "gift-wrapped.v1", "gift-wrapped", causation_id=None)


def test_an_unknown_type_in_the_sequence_of_a_sku_makes_no_gap_and_is_not_handed_over(
    place: Place, worker: Worker, start: Callable[..., Shipping]
) -> None:
    positions: dict[str, Position] = {}
    shipping = start(positions=positions, patience=0.2)
    worker.announce(allocated(1))
    gift_wrapped(worker, 2)
    worker.announce(allocated(3))
    gift_wrapped(worker, 2)
    gift_wrapped(worker, 4)
    gift_wrapped(worker, 1, "TABLE")
    worker.announce(allocated(2, "TABLE"))
    eventually(lambda: len(shipping.events) == 3)
    shipping.stop()
    assert shipping.error is None
    assert shipping.events == [allocated(1), allocated(3), allocated(2, "TABLE")]
    assert shipping.repeats == []
    assert positions == {"CHAIR": Position(4), "TABLE": Position(2)}
    assert place.depth(QUEUE) == place.depth(shipping.subscriber.parked) == 0


def test_an_unknown_type_that_comes_too_early_is_held_back_as_any_event(
    worker: Worker, start: Callable[..., Shipping]
) -> None:
    shipping = start(patience=15)
    worker.announce(allocated(1))
    gift_wrapped(worker, 3)
    worker.announce(allocated(4), allocated(2))
    eventually(lambda: shipping.sequences == [1, 2, 4])


def test_an_unknown_type_that_is_missing_is_a_gap(worker: Worker, start: Callable[..., Shipping]) -> None:
    gaps: list[GapError] = []
    shipping = start(on_gap=gaps.append, patience=0.2)
    worker.announce(allocated(1))
    gift_wrapped(worker, 3)
    worker.announce(allocated(4))
    eventually(lambda: shipping.sequences == [1, 4])
    assert [(gap.expected, gap.got) for gap in gaps] == [(2, 3)]


@pytest.mark.parametrize("body", [b"{}", b'{"sku": "CHAIR", "sequence": "2"}', b'{"sku": 7, "sequence": true}'])
def test_an_unknown_type_that_belongs_to_no_sku_is_left_out(
    place: Place, worker: Worker, start: Callable[..., Shipping], body: bytes
) -> None:
    shipping = start()
    worker.announce_raw(body, "stocktaking-began.v1", "stocktaking-began")
    worker.announce(allocated(1))
    eventually(lambda: shipping.events == [allocated(1)])
    shipping.stop()
    assert place.depth(QUEUE) == place.depth(shipping.subscriber.parked) == 0


def test_a_queue_that_an_older_version_has_bound_gets_unknown_types_and_each_event_once(
    place: Place, worker: Worker, start: Callable[..., Shipping]
) -> None:
    start().stop()
    for event in EVENTS.values():
        place.channel.queue_bind(QUEUE, EVENTS_EXCHANGE, event.ROUTING_KEY)
    shipping = start(patience=0.2)
    worker.announce(allocated(1))
    gift_wrapped(worker, 2)
    worker.announce(allocated(3))
    eventually(lambda: shipping.sequences == [1, 3])
    assert shipping.repeats == []


def test_it_connects_again_and_goes_on_where_it_was(
    worker: Worker, start: Callable[..., Shipping], close_connections: Callable[[], None]
) -> None:
    shipping = start()
    worker.announce(*map(allocated, range(1, 300)))
    eventually(lambda: len(shipping.events) > 10)
    close_connections()
    worker.announce(*map(allocated, range(300, 600)))
    eventually(lambda: len(shipping.events) == 599)
    assert shipping.sequences == list(range(1, 600))


def test_when_its_queue_is_deleted_it_makes_it_again(
    place: Place, worker: Worker, start: Callable[..., Shipping]
) -> None:
    shipping = start()
    place.channel.queue_delete(QUEUE)
    eventually(lambda: consuming(place))
    worker.announce(allocated(1))
    eventually(lambda: shipping.sequences == [1])


def test_of_two_on_one_queue_one_works_and_the_other_takes_over(worker: Worker, start: Callable[..., Shipping]) -> None:
    first, second = start(), start()
    worker.announce(*map(allocated, range(1, 50)))
    eventually(lambda: len(first.events) == 49)
    first.stop()
    worker.announce(allocated(50))
    eventually(lambda: second.sequences == [50])


def test_without_the_exchange_it_says_what_to_do(place: Place) -> None:
    place.channel.exchange_delete(EVENTS_EXCHANGE)
    with pytest.raises(SubscriptionError, match="does not exist on the broker; have the worker's operator run"):
        Subscriber(place.url, QUEUE).run(lambda *_: None)


def test_a_queue_of_that_name_with_other_arguments_is_refused_in_words(place: Place) -> None:
    place.channel.queue_declare(QUEUE, durable=True)
    with pytest.raises(SubscriptionError, match="shipping exists on the broker with other arguments"):
        Subscriber(place.url, QUEUE).run(lambda *_: None)


def declare_as_an_earlier_version(place: Place) -> None:
    """The queues of a subscriber that parks through the default exchange."""
    place.channel.queue_declare(
        f"{QUEUE}.parked",
        durable=True,
        arguments={"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT},
    )
    place.channel.queue_declare(
        QUEUE,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": NO_DELIVERY_LIMIT,
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"{QUEUE}.parked",
            "x-dead-letter-strategy": "at-least-once",
        },
    )
    place.channel.queue_bind(QUEUE, EVENTS_EXCHANGE, "allocated")


def test_a_queue_of_an_earlier_version_goes_on_and_still_parks(
    place: Place, worker: Worker, start: Callable[..., Shipping]
) -> None:
    declare_as_an_earlier_version(place)
    worker.announce(allocated(1))
    place.channel.exchange_delete(PARKING_EXCHANGE)  # the worker may be of the earlier version, too
    shipping = start()
    worker.announce_raw(b"{", "allocated.v1")
    worker.announce(allocated(2))
    eventually(lambda: shipping.sequences == [1, 2])
    eventually(lambda: place.depth(shipping.subscriber.parked) == 1)


def test_a_new_queue_needs_the_exchange_for_parking_and_says_so(place: Place) -> None:
    place.channel.exchange_delete(PARKING_EXCHANGE)
    with pytest.raises(SubscriptionError, match=r"The exchange allocation\.parking does not exist on the broker; have"):
        Subscriber(place.url, QUEUE).run(lambda *_: None)
