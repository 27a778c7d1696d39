"""Metrics and traces by OpenTelemetry's SDK, which the variables `OTEL_*` configure.

It needs the SDK and an exporter, the extra `otel`.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import entry_points
from threading import Thread
from time import monotonic
from typing import Any, Literal

import structlog
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from allocation_contracts import TRACEPARENT_HEADER, TRACESTATE_HEADER
from allocation_worker.service_layer import telemetry
from allocation_worker.service_layer.ports.telemetry import TelemetryError
from allocation_worker.service_layer.telemetry import ERROR, Attributes, Metric, Reading, TraceContext

SERVICE = "allocation-worker"
_CLOSING_TIME = 3.0
"""Seconds for the last export. A collector that is away must not hold up the end of a process."""
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}

_KINDS = {"consumer": SpanKind.CONSUMER, "producer": SpanKind.PRODUCER}
# The wire contract has these headers and no others, whatever OTEL_PROPAGATORS says.
_W3C = TraceContextTextMapPropagator()

log = structlog.get_logger()


class _Span:
    """Implements `service_layer.ports.telemetry.Span`."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def context(self) -> TraceContext:
        headers: dict[str, str] = {}
        _W3C.inject(headers, set_span_in_context(self._span))
        return TraceContext(headers[TRACEPARENT_HEADER], headers.get(TRACESTATE_HEADER))

    def end(self, attributes: Attributes, *, error: str | None = None) -> None:
        self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_attribute(ERROR, error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OpenTelemetry:
    """Implements `service_layer.ports.telemetry.Recorder`, and `Tracer` if `traces`; exports all of it until `close`.

    Args:
        verb: The verb that the process runs.
        version: The version of the worker.
        readings: Returns the gauges.

    Attributes:
        traces: Whether spans go anywhere.

    Raises:
        TelemetryError: A variable is wrong.
    """

    def __init__(self, verb: str, version: str, readings: Callable[[], Iterable[Reading]]) -> None:
        _log_in_our_words()
        try:
            self._begin(_resource(verb, version))
        except Exception as error:  # any error at all: the SDK checks its variables as it goes
            raise TelemetryError(f"OpenTelemetry refuses its variables OTEL_*: {error}") from error
        self._tracer = self._traces.get_tracer("allocation_worker", version)
        meter = self._metrics.get_meter("allocation_worker", version)
        self._counters = {
            each: meter.create_counter(each.name, unit=each.unit, description=each.description)
            for each in telemetry.COUNTERS
        }
        self._histograms = {
            each: meter.create_histogram(
                each.name,
                unit=each.unit,
                description=each.description,
                explicit_bucket_boundaries_advisory=each.bounds,
            )
            for each in telemetry.HISTOGRAMS
        }
        for gauge in telemetry.GAUGES:
            meter.create_observable_gauge(
                gauge.name,
                callbacks=[partial(_observe, gauge, readings)],
                unit=gauge.unit,
                description=gauge.description,
            )

    def _begin(self, resource: Resource) -> None:
        spans = [BatchSpanProcessor(make()) for make in _exporters("traces")]
        self.traces = bool(spans)
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        for each in spans:
            self._traces.add_span_processor(each)
        readers: list[MetricReader] = [PeriodicExportingMetricReader(make()) for make in _exporters("metrics")]
        self._metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)

    def add(self, counter: Metric, amount: int, attributes: Attributes) -> None:
        self._counters[counter].add(amount, attributes)

    def record(self, histogram: Metric, value: float, attributes: Attributes) -> None:
        self._histograms[histogram].record(value, attributes)

    def begin(
        self, name: str, kind: Literal["consumer", "producer"], parent: TraceContext | None, attributes: Attributes
    ) -> _Span:
        context = Context()
        if parent is not None:
            headers = {TRACEPARENT_HEADER: parent.traceparent, TRACESTATE_HEADER: parent.tracestate or ""}
            context = _W3C.extract(headers, context)
        return _Span(self._tracer.start_span(name, context, _KINDS[kind], attributes))

    def close(self) -> None:
        """Export the rest, for three seconds at most."""
        threads = [
            Thread(target=provider.shutdown, name="last export", daemon=True)
            for provider in (self._metrics, self._traces)
        ]
        for thread in threads:
            thread.start()
        deadline = monotonic() + _CLOSING_TIME
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))


def _resource(verb: str, version: str) -> Resource:
    ours = {
        "service.name": SERVICE,
        "service.version": version,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        telemetry.VERB: verb,
    }
    # What the environment says wins.
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _observe(
    gauge: Metric, readings: Callable[[], Iterable[Reading]], _options: CallbackOptions
) -> Iterator[Observation]:
    return (Observation(each.value, each.attributes) for each in readings() if each.gauge == gauge)


def _exporters(signal: str) -> Iterator[Callable[[], Any]]:
    """Yield what makes the exporters that the environment asks for, of `metrics` or of `traces`."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    for name in filter(None, map(str.strip, os.environ.get(variable, _usual(signal)).split(","))):
        wanted = _protocol(signal) if name == "otlp" else name
        if wanted == "none":
            continue
        found = entry_points(group=f"opentelemetry_{signal}_exporter", name=wanted)
        if found:
            yield next(iter(found)).load()
        else:
            log.warning(
                "telemetry_unavailable",
                detail=f"The exporter {wanted} that {variable} or OTEL_EXPORTER_OTLP_PROTOCOL asks for is not "
                "installed; install its package, or take otlp by http/protobuf.",
            )


def _usual(signal: str) -> str:
    """Return the exporter of a signal that has no variable of its own: none, if nothing says where to."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return "otlp" if any(os.environ.get(name) for name in names) else "none"


def _protocol(signal: str) -> str:
    given = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    return _PROTOCOLS.get(given, given)


class _Told(logging.Handler):
    """Tells in our logs what the SDK has to say, without its tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("telemetry_failing", detail=record.getMessage())


def _log_in_our_words() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.handlers = [_Told(logging.WARNING)]
    logger.propagate = False
