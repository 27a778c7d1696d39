"""The spans of messages and of events, in the traces of those who have published the commands.

As with the measuring, what the loops are given is wrapped, and only if somebody takes the spans.
"""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from allocation_contracts import ContractError
from allocation_contracts.properties import read_trace_context
from allocation_contracts.results import PublishResult
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import DeadLettered, Outcome, Retry
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent
from allocation_worker.service_layer.ports import Delivered, Deliveries, EventPublisher
from allocation_worker.service_layer.ports.telemetry import Span, Tracer
from allocation_worker.service_layer.project import EventMessage
from allocation_worker.service_layer.telemetry import (
    CONVERSATION,
    DESTINATION,
    MESSAGE_ID,
    OPERATION,
    OPERATION_TYPE,
    RABBITMQ,
    SYSTEM,
    TYPE,
    TraceContext,
    outcome_attributes,
)

D = TypeVar("D", bound=Delivered)
M = TypeVar("M", bound=CommandMessage | EventMessage)


class _Begun(NamedTuple):
    delivery: object  # kept, since its id stands for it
    generation: int
    span: Span


class TracedDeliveries(Generic[D, M]):
    """The deliveries of a queue, each with a span from its reading until it is settled.

    Args:
        deliveries: The deliveries.
        read: Reads one, or raises ContractError.
        tracer: Takes the spans.
        done: What a message is called that is done and not rejected.
        pass_on: Returns a message with another trace context, for what follows from it.
    """

    def __init__(
        self,
        deliveries: Deliveries[D],
        read: Callable[[D], M],
        tracer: Tracer,
        *,
        done: str,
        pass_on: Callable[[M, TraceContext], M],
    ) -> None:
        self._deliveries = deliveries
        self._read = read
        self._tracer = tracer
        self._done = done
        self._pass_on = pass_on
        self._name = f"process {deliveries.queue}"
        self._about = {
            SYSTEM: RABBITMQ,
            OPERATION: "process",
            OPERATION_TYPE: "process",
            DESTINATION: deliveries.queue,
        }
        self._begun: dict[int, _Begun] = {}

    @property
    def queue(self) -> str:
        return self._deliveries.queue

    def read(self, delivery: D) -> M:
        """Read a delivery, within a span of its own; while a store is away, it is read again and again."""
        try:
            message = self._read(delivery)
        except ContractError:
            self._span_of(delivery, {})
            raise
        about = {MESSAGE_ID: message.message_id, CONVERSATION: message.correlation_id, TYPE: message.type}
        return self._pass_on(message, self._span_of(delivery, about).context)

    def take(self, limit: int, within: float | None = None) -> list[D] | None:
        taken = self._deliveries.take(limit, within)
        if taken and self._begun:
            self._forget_all_but(taken[0].generation)
        return taken

    def ack(self, results: Sequence[tuple[D, Outcome]]) -> None:
        self._deliveries.ack(results)
        for delivery, outcome in results:
            attributes = outcome_attributes(outcome, self._done)
            if attributes is not None and (begun := self._begun.pop(id(delivery), None)) is not None:
                begun.span.end(attributes, error=_error(outcome))

    def hold(self) -> None:
        self._deliveries.hold()

    def release(self) -> None:
        self._deliveries.release()

    def _span_of(self, delivery: D, about: dict[str, str]) -> Span:
        begun = self._begun.get(id(delivery))
        if begun is None:
            traceparent, tracestate = read_trace_context(delivery.properties.headers)
            parent = None if traceparent is None else TraceContext(traceparent, tracestate)
            span = self._tracer.begin(self._name, "consumer", parent, self._about | about)
            begun = self._begun[id(delivery)] = _Begun(delivery, delivery.generation, span)
        return begun.span

    def _forget_all_but(self, generation: int) -> None:
        """End the spans of what was set aside and is delivered again, by another channel."""
        for key, begun in list(self._begun.items()):
            if begun.generation != generation:
                begun.span.end({}, error="redelivered")
                del self._begun[key]


def _error(outcome: Outcome) -> str | None:
    match outcome:
        case DeadLettered(reason=reason):
            return reason
        case Retry():
            return "retried"
        case _:
            return None


class TracedPublisher:
    """A publisher of events, each with a span from its publishing to its result, if its command had a trace context.

    The context that an event carries stays the same at every publication: that of the decision.

    Args:
        publisher: The publisher.
        tracer: Takes the spans.
        exchange: Where it publishes.
    """

    def __init__(self, publisher: EventPublisher, tracer: Tracer, exchange: str) -> None:
        self._publisher = publisher
        self._tracer = tracer
        self._name = f"publish {exchange}"
        self._about = {
            SYSTEM: RABBITMQ,
            OPERATION: "publish",
            OPERATION_TYPE: "send",
            DESTINATION: exchange,
        }
        self._begun: dict[int, Span] = {}

    @property
    def connected(self) -> bool:
        return self._publisher.connected

    def publish(self, batch: Sequence[OutgoingEvent]) -> None:
        for event in batch:
            if event.traceparent is not None:
                parent = TraceContext(event.traceparent, event.tracestate)
                about = {MESSAGE_ID: event.message_id, CONVERSATION: event.correlation_id, TYPE: event.type}
                self._begun[event.id] = self._tracer.begin(self._name, "producer", parent, self._about | about)
        self._publisher.publish(batch)

    def take_results(self) -> list[MessageResult]:
        results = self._publisher.take_results()
        for each in results:
            if (span := self._begun.pop(each.id, None)) is not None:
                failed = each.result is not PublishResult.CONFIRMED
                span.end({}, error=each.result.name.lower() if failed else None)
        return results
