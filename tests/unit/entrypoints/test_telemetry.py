"""What is counted and measured of the loops."""

from collections.abc import Iterable, Iterator, Sequence
from threading import Event

import pytest

from allocation_contracts.results import PublishResult
from allocation_worker.bootstrap.telemetry import Telemetry
from allocation_worker.config import Settings
from allocation_worker.entrypoints.telemetry import Gauges, MeasuredDeliveries, MeasuredPublisher
from allocation_worker.service_layer.outcomes import DeadLettered, Done, LockedProduct, Outcome, Retry, SetAside
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.service_layer.telemetry import OUTBOX_DEPTH, UNROUTED, Reading
from tests.fakes.deliveries import FakeDeliveries
from tests.fakes.messages import FakeDelivery
from tests.fakes.relay import outgoing
from tests.fakes.telemetry import FakeRecorder

DELIVERIES = [FakeDelivery(body=str(number).encode()) for number in range(6)]


class Answers:
    """A publisher whose results the test gives."""

    connected = True

    def __init__(self) -> None:
        self.results: list[MessageResult] = []

    def publish(self, batch: Sequence[OutgoingEvent]) -> None:
        assert batch

    def take_results(self) -> list[MessageResult]:
        taken, self.results = self.results, []
        return taken


class Clock:
    """Seconds, as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def recorder() -> FakeRecorder:
    return FakeRecorder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_group_is_counted_by_what_became_of_its_messages(recorder: FakeRecorder, clock: Clock) -> None:
    measured = MeasuredDeliveries(FakeDeliveries(DELIVERIES), recorder, clock=clock)
    measured.take(10)
    clock.now += 0.25
    outcomes: list[Outcome] = [
        Done(),
        Done(),
        Done(rejected="unknown-sku"),
        Retry(after=1, attempts=1),
        DeadLettered(reason="invalid-json", detail="It is no JSON."),
        SetAside(LockedProduct("SKU", "a lock")),
    ]
    measured.ack(list(zip(DELIVERIES, outcomes, strict=True)))

    assert recorder.counts == {
        ("messaging.client.consumed.messages",): 6,
        ("allocation.messages.settled", "answered"): 2,
        ("allocation.messages.settled", "rejected", "unknown-sku"): 1,
        ("allocation.messages.settled", "retried"): 1,
        ("allocation.messages.settled", "dead-lettered", "invalid-json"): 1,
        ("allocation.messages.set_aside",): 1,
    }
    assert recorder.values == {"allocation.group.size": [6], "messaging.process.duration": [0.25]}


def test_messages_that_were_set_aside_are_counted_when_they_are_settled_and_are_no_group(
    recorder: FakeRecorder, clock: Clock
) -> None:
    measured = MeasuredDeliveries(FakeDeliveries(None), recorder, clock=clock)
    assert measured.take(10, within=1.0) is None
    measured.ack([(DELIVERIES[0], Done())])
    assert recorder.counts == {("allocation.messages.settled", "answered"): 1}
    assert recorder.values == {}


def test_the_confirms_of_a_batch_are_measured_when_the_last_has_come(recorder: FakeRecorder, clock: Clock) -> None:
    publisher = Answers()
    measured = MeasuredPublisher(publisher, recorder, "allocation.events", clock=clock)
    measured.publish([outgoing(1), outgoing(2)])
    clock.now += 1
    publisher.results = [MessageResult(1, PublishResult.CONFIRMED)]
    measured.take_results()
    assert recorder.values == {}
    clock.now += 1
    publisher.results = [MessageResult(2, PublishResult.NACKED)]
    measured.take_results()
    assert recorder.values == {"messaging.client.operation.duration": [2]}
    assert recorder.counts == {
        ("messaging.client.sent.messages",): 1,
        ("messaging.client.sent.messages", "nacked"): 1,
    }


def test_gauges_are_read_by_the_active_process_alone_and_what_cannot_be_read_is_left_out() -> None:
    active = Event()
    looks = 0

    def broken() -> Iterable[Reading]:
        raise StoreUnavailableError("It is away.")

    def depth() -> Iterator[Reading]:
        nonlocal looks
        looks += 1
        yield Reading(OUTBOX_DEPTH, 7)

    seen: list[list[Reading]] = []
    gauges = Gauges([broken, depth])

    class Steps(Event):
        """At first it stands by, then it is active, then it is to stop."""

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout == 1.0
            seen.append(list(gauges.readings))
            if active.is_set():
                self.set()
            active.set()
            return True

    gauges.look_until(Steps(), active, 1.0)
    assert (looks, seen) == (1, [[], [Reading(OUTBOX_DEPTH, 7)]])
    assert gauges.readings == (), "a process that has stopped tells nothing"


def test_with_nothing_configured_the_loops_get_what_they_would_get_without_measuring() -> None:
    telemetry = Telemetry(Settings(), "consume")
    deliveries, publisher = FakeDeliveries(DELIVERIES), Answers()

    def read(_delivery: FakeDelivery) -> None:
        raise NotImplementedError

    assert telemetry.commands(deliveries, read) == (deliveries, read)  # type: ignore[arg-type, comparison-overlap] # not called
    assert telemetry.publisher(publisher) is publisher


def test_the_names_in_prometheus_are_those_that_collectors_make() -> None:
    assert UNROUTED.prometheus_name == "allocation_outbox_unrouted"
