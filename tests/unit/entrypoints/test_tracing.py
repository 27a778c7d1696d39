"""The spans of messages and events."""

from collections.abc import Sequence

import pytest

from allocation_contracts import ContractError
from allocation_contracts.results import PublishResult
from allocation_worker.adapters import wire
from allocation_worker.domain.commands import Allocate
from allocation_worker.entrypoints.tracing import TracedDeliveries, TracedPublisher
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import DeadLettered, Done, LockedProduct, Outcome, Retry, SetAside
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent
from allocation_worker.service_layer.telemetry import TraceContext
from tests.fakes.deliveries import FakeDeliveries
from tests.fakes.messages import FakeDelivery, FakeProperties, delivery
from tests.fakes.relay import outgoing
from tests.fakes.telemetry import FakeTracer

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ORDER = delivery(Allocate(orderid="o", sku="LAMP", qty=1), "m-1", traceparent=TRACEPARENT)
HELD = SetAside(LockedProduct("SKU", "a lock"))


@pytest.fixture
def tracer() -> FakeTracer:
    return FakeTracer()


def traced(
    tracer: FakeTracer, *groups: Sequence[FakeDelivery] | None
) -> TracedDeliveries[FakeDelivery, CommandMessage]:
    return TracedDeliveries(
        FakeDeliveries(*groups),
        wire.read,
        tracer,
        done="answered",
        pass_on=lambda message, context: message._replace(traceparent=context.traceparent),
    )


def test_a_command_is_processed_in_the_trace_of_its_publisher_and_its_events_follow_from_that(
    tracer: FakeTracer,
) -> None:
    deliveries = traced(tracer)
    message = deliveries.read(ORDER)
    [span] = tracer.spans
    assert (span.name, span.kind, span.parent) == ("process allocation.orders", "consumer", TraceContext(TRACEPARENT))
    assert span.attributes["messaging.message.id"] == "m-1"
    assert message.traceparent == "span-1"
    assert not span.ended
    deliveries.ack([(ORDER, Done())])
    assert (span.ended, span.error, span.attributes["allocation.outcome"]) == (True, None, "answered")


def test_a_command_that_is_read_again_while_the_database_is_away_has_one_span(tracer: FakeTracer) -> None:
    deliveries = traced(tracer)
    assert [deliveries.read(ORDER).traceparent for _ in range(3)] == ["span-1"] * 3
    assert len(tracer.spans) == 1


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Retry(after=1, attempts=1), "retried"),
        (DeadLettered(reason="message-id-conflict", detail="It was used."), "message-id-conflict"),
        (Done(rejected="unknown-sku"), None),
    ],
)
def test_a_span_says_what_became_of_the_command(tracer: FakeTracer, outcome: Outcome, error: str | None) -> None:
    deliveries = traced(tracer)
    deliveries.read(ORDER)
    deliveries.ack([(ORDER, outcome)])
    assert tracer.spans[0].error == error


def test_a_command_that_breaks_the_contract_has_a_span_in_its_trace_too(tracer: FakeTracer) -> None:
    broken = FakeDelivery(body=b"{", properties=FakeProperties(headers={"traceparent": TRACEPARENT}))
    deliveries = traced(tracer)
    with pytest.raises(ContractError):
        deliveries.read(broken)
    deliveries.ack([(broken, DeadLettered(reason="invalid-json", detail="It is no JSON."))])
    [span] = tracer.spans
    assert (span.parent, span.ended, span.error) == (TraceContext(TRACEPARENT), True, "invalid-json")


def test_a_command_without_a_trace_begins_one(tracer: FakeTracer) -> None:
    traced(tracer).read(delivery(Allocate(orderid="o", sku="LAMP", qty=1)))
    assert tracer.spans[0].parent is None


def test_a_command_that_is_set_aside_has_its_span_until_it_is_settled(tracer: FakeTracer) -> None:
    deliveries = traced(tracer)
    deliveries.read(ORDER)
    deliveries.ack([(ORDER, HELD)])
    assert not tracer.spans[0].ended
    deliveries.ack([(ORDER, Done())])
    assert tracer.spans[0].ended


def test_the_span_of_a_command_that_comes_again_by_another_channel_is_ended(tracer: FakeTracer) -> None:
    again = FakeDelivery(body=ORDER.body, properties=ORDER.properties, generation=2)
    deliveries = traced(tracer, [ORDER], [again])
    deliveries.read(deliveries.take(1)[0])  # type: ignore[index] # there is a group
    deliveries.ack([(ORDER, HELD)])
    deliveries.take(1)
    assert tracer.spans[0].error == "redelivered"


class Answers:
    """A publisher that refuses each event."""

    connected = True

    def __init__(self) -> None:
        self._published: list[OutgoingEvent] = []

    def publish(self, batch: Sequence[OutgoingEvent]) -> None:
        self._published += batch

    def take_results(self) -> list[MessageResult]:
        return [MessageResult(event.id, PublishResult.NACKED) for event in self._published]


def test_an_event_is_published_in_the_trace_of_its_decision_and_one_without_a_trace_has_no_span(
    tracer: FakeTracer,
) -> None:
    publisher = TracedPublisher(Answers(), tracer, "allocation.events")
    publisher.publish([outgoing(1)._replace(traceparent=TRACEPARENT, tracestate="a=b"), outgoing(2)])
    [span] = tracer.spans
    assert (span.name, span.kind, span.parent) == (
        "publish allocation.events",
        "producer",
        TraceContext(TRACEPARENT, "a=b"),
    )
    assert len(publisher.take_results()) == 2
    assert (span.ended, span.error) == (True, "nacked")
