"""Metrics and traces of the whole service, as a collector takes them."""

from collections.abc import Iterator
from threading import Thread

import pytest
from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanContext, TraceFlags, Tracer, TraceState, set_span_in_context

from allocation_contracts import Allocate, CreateBatch, Event, EventProperties
from allocation_contracts.amqp import Publisher, Subscriber
from allocation_worker.service_layer.telemetry import COUNTERS, GAUGES, HISTOGRAMS, SET_ASIDE, UNROUTED, WAITING
from allocation_worker.testing.waiting import wait_until
from harness.otlp import Collector, SeenSpan, collector
from harness.service import RunningService

SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "300", "ALLOCATION_METRICS_INTERVAL": "1"}


@pytest.fixture
def seen() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture
def shop(seen: Collector) -> Iterator[Tracer]:
    """The tracer of another team, whose programs send to the same collector."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{seen.url}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("shop")
    provider.shutdown()


def test_one_trace_leads_from_the_publisher_through_the_decision_to_the_subscriber(
    fresh_service: RunningService, seen: Collector, shop: Tracer
) -> None:
    settings = {**SOON, "OTEL_EXPORTER_OTLP_ENDPOINT": seen.url, "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=test"}
    processes = [fresh_service.start(verb, settings=settings) for verb in ("consume", "relay")]

    def handle(event: Event, properties: EventProperties) -> None:
        with shop.start_as_current_span("pick", context=propagate.extract(properties.trace_context)) as span:
            span.set_attribute("order", getattr(event, "orderid", ""))

    subscriber = Subscriber(fresh_service.amqp_url, "shipping", positions={})
    thread = Thread(target=subscriber.run, args=(handle,))
    thread.start()
    try:
        with fresh_service.client() as client, Publisher(fresh_service.amqp_url, app_id="shop") as publisher:
            client.ask(CreateBatch(batchref="b", sku="LAMP", qty=1))  # an order that comes before it is tried again
            with shop.start_as_current_span("checkout", context=with_state("tenant@shop=7")):
                headers: dict[str, str] = {}
                propagate.inject(headers)
                publisher.publish(Allocate(orderid="o", sku="LAMP", qty=1), message_id="order-1", **headers)
            publisher.publish(Allocate(orderid="o", sku="LAMP", qty=2), message_id="order-2", **headers)

        def under(parent: str) -> list[SeenSpan]:
            return [span for span in list(seen.spans) if span.parent == parent]

        def checkout() -> list[SeenSpan]:
            return [span for span in list(seen.spans) if span.name == "checkout"]

        def decided() -> list[SeenSpan]:
            return [span for root in checkout() for span in under(root.id)]

        wait_until(
            lambda: len(decided()) == 2 and all(len(under(span.id)) == 2 for span in decided()),
            within=60,
            otherwise=lambda: f"{seen.spans}\n{fresh_service.logs()}",
        )
    finally:
        subscriber.stop()
        thread.join()

    [root] = checkout()
    first, second = sorted(decided(), key=lambda span: span.attributes["messaging.message.id"])
    assert (first.name, first.verb, first.failed) == ("process allocation.orders", "consume", False)
    assert first.attributes["allocation.outcome"] == "answered"
    about = ("service.name", "service.namespace", "telemetry.sdk.name")
    assert [first.resource[name] for name in about] == ["allocation-worker", "test", "opentelemetry"]
    assert second.attributes["allocation.reason"] == "line-quantity-conflict"
    publication, picked = sorted(under(first.id), key=lambda span: span.verb)
    assert (publication.name, publication.verb) == ("publish allocation.events", "relay")
    assert publication.attributes["allocation.message.type"] == "allocated.v1"
    assert (picked.name, picked.verb, picked.attributes) == ("pick", "shop", {"order": "o"})
    assert {span.trace for span in (root, first, second, publication, picked)} == {root.trace}
    assert {span.state for span in (first, publication, picked)} == {"tenant@shop=7"}

    never_here = {SET_ASIDE, UNROUTED, WAITING}
    wanted = {metric.name for metric in (*COUNTERS, *HISTOGRAMS, *GAUGES) if metric not in never_here}
    wait_until(
        lambda: wanted <= set(seen.metrics), within=30, otherwise=lambda: f"{sorted(wanted - set(seen.metrics))}"
    )

    def reasons() -> set[str | None]:
        return {each.get("allocation.reason") for each in list(seen.metrics["allocation.messages.settled"])}

    wait_until(lambda: reasons() == {None, "line-quantity-conflict"}, within=30, otherwise=lambda: str(reasons()))
    assert [process.terminate() for process in processes] == [0, 0]


def with_state(text: str) -> context.Context:
    """The context of a request that came with a tracestate."""
    parent = SpanContext(
        trace_id=0x4BF92F3577B34DA6A3CE929D0E0E4736,
        span_id=0x00F067AA0BA902B7,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([text]),
    )
    return set_span_in_context(trace.NonRecordingSpan(parent))


def test_a_collector_that_is_away_stops_nothing(fresh_service: RunningService) -> None:
    settings = {**SOON, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    processes = [fresh_service.start(verb, settings=settings) for verb in ("consume", "relay")]
    with fresh_service.client() as client:
        client.ask(CreateBatch(batchref="b", sku="LAMP", qty=1))
    processes[0].wait_for("telemetry_failing", verb="consume")
    assert [process.terminate(within=15) for process in processes] == [0, 0]


def test_what_is_not_installed_is_told_and_stops_nothing(fresh_service: RunningService) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    process = fresh_service.start("relay", settings=settings)
    process.wait_for("ready")
    process.wait_for("telemetry_unavailable")
    assert process.terminate() == 0
