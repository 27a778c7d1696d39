"""Wires metrics and traces. With nothing configured it imports nothing, and the loops are not measured."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

import structlog
from sqlalchemy.engine import Engine

from allocation_contracts.names import EVENTS_EXCHANGE
from allocation_worker import __version__
from allocation_worker.adapters.postgres.engine import observe_connections
from allocation_worker.adapters.postgres.status import count_pending, look, look_at_lines
from allocation_worker.adapters.rabbitmq.errors import RabbitMQError
from allocation_worker.adapters.rabbitmq.queue_states import QueueWatch
from allocation_worker.bootstrap.addresses import BrokerUrls
from allocation_worker.config import Settings, SettingsError, opentelemetry_is_wanted
from allocation_worker.entrypoints.signs_of_life import SignsOfLife
from allocation_worker.entrypoints.telemetry import Gauges, MeasuredDeliveries, MeasuredPublisher, Recorders
from allocation_worker.entrypoints.tracing import TracedDeliveries, TracedPublisher
from allocation_worker.service_layer import telemetry
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import Delivered, Deliveries, EventPublisher, StoreError
from allocation_worker.service_layer.ports.telemetry import Recorder, TelemetryError, Tracer
from allocation_worker.service_layer.project import EventMessage
from allocation_worker.service_layer.telemetry import Reading, TraceContext

if TYPE_CHECKING:
    from allocation_worker.adapters.otel import OpenTelemetry
    from allocation_worker.adapters.prometheus_file import PrometheusFile

D = TypeVar("D", bound=Delivered)
M = TypeVar("M", bound=CommandMessage | EventMessage)

_LAST_WRITE = 1.0
"""Seconds that the end of a process waits for a folder that does not answer."""

log = structlog.get_logger()


class PrometheusNotInstalledError(SettingsError):
    """A setting asks for text files, and the optional extra `prometheus` is not installed."""

    def __init__(self) -> None:
        super().__init__("ALLOCATION_METRICS_FOLDER needs prometheus-client: install allocation-worker[prometheus].")


class Telemetry:
    """Measures the parts of a process, if somebody takes the values; otherwise it returns them as they are.

    Args:
        settings: The settings of the process.
        verb: The verb that it runs.
    """

    def __init__(self, settings: Settings, verb: str) -> None:
        self._settings = settings
        self._verb = verb
        self._sources: list[Callable[[], Iterable[Reading]]] = []
        self._recorders: list[Recorder] = []
        self._tracer: Tracer | None = None
        self._recorder = Recorders(self._recorders)

    def readings(self) -> Iterator[Reading]:
        """Yield the gauges of the process."""
        for source in self._sources:
            yield from source()

    def add_source(self, source: Callable[[], Iterable[Reading]]) -> None:
        self._sources.append(source)

    def add_recorder(self, recorder: Recorder) -> None:
        self._recorders.append(recorder)

    def add_tracer(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def commands(
        self, deliveries: Deliveries[D], read: Callable[[D], CommandMessage]
    ) -> tuple[Deliveries[D], Callable[[D], CommandMessage]]:
        """Return deliveries of commands and what reads them, both measured and traced."""
        return self._observed(deliveries, read, "answered", _pass_on)

    def events(
        self, deliveries: Deliveries[D], read: Callable[[D], EventMessage]
    ) -> tuple[Deliveries[D], Callable[[D], EventMessage]]:
        """Return deliveries of events and what reads them, both measured and traced."""
        return self._observed(deliveries, read, "projected", lambda message, _: message)

    def publisher(self, publisher: EventPublisher) -> EventPublisher:
        """Return a publisher that is measured and traced."""
        if self._tracer is not None:
            publisher = TracedPublisher(publisher, self._tracer, EVENTS_EXCHANGE)
        return MeasuredPublisher(publisher, self._recorder, EVENTS_EXCHANGE) if self._recorders else publisher

    def _observed(
        self, deliveries: Deliveries[D], read: Callable[[D], M], done: str, pass_on: Callable[[M, TraceContext], M]
    ) -> tuple[Deliveries[D], Callable[[D], M]]:
        if self._tracer is not None:
            traced = TracedDeliveries(deliveries, read, self._tracer, done=done, pass_on=pass_on)
            deliveries, read = traced, traced.read
        if self._recorders:
            deliveries = MeasuredDeliveries(deliveries, self._recorder, done=done)
        return deliveries, read

    def measure_connections(self, database: Engine) -> None:
        if self._recorders:
            pool = {telemetry.POOL: self._verb}
            observe_connections(database, lambda seconds: self._recorder.record(telemetry.POOL_WAIT, seconds, pool))

    @contextmanager
    def outbox_and_queues(self, database: Engine, active: Event) -> Iterator[None]:
        """Look at the outbox, the lines and the queues now and then, while `active` is set, until the block ends."""
        if not self._recorders:
            yield
            return
        queues = QueueWatch(BrokerUrls(self._settings), self._settings.retry_policy.all_delays)
        gauges = Gauges(
            [
                lambda: telemetry.readings_of_outbox(look(database)[1], count_pending(database)),
                lambda: telemetry.readings_of_lines(look_at_lines(database)),
                lambda: telemetry.readings_of_queues(queues.read()),
            ],
            failures=(StoreError, RabbitMQError),
        )
        self.add_source(lambda: gauges.readings)
        stopping = Event()

        def run() -> None:
            gauges.look_until(stopping, active, self._settings.metrics_interval)
            queues.close()

        with _beside(run, "gauges", stopping):
            yield


@contextmanager
def telemetry_of(settings: Settings, verb: str, signs: SignsOfLife) -> Iterator[Telemetry]:
    """Yield what measures this process, until the block ends.

    Raises:
        PrometheusNotInstalledError: The setting asks for a text file, and the extra is not installed.
    """
    made = Telemetry(settings, verb)
    made.add_source(lambda: telemetry.readings_of_process(signs.now()))
    with ExitStack() as closing:
        if settings.metrics_folder is not None:
            file = _prometheus_file(settings.metrics_folder, verb, made.readings)
            made.add_recorder(file)
            closing.enter_context(_written(file, settings.metrics_interval))
        if opentelemetry_is_wanted() and (exported := _opentelemetry(verb, made.readings)) is not None:
            made.add_recorder(exported)
            if exported.traces:
                made.add_tracer(exported)
            closing.callback(exported.close)
        yield made


def _pass_on(message: CommandMessage, context: TraceContext) -> CommandMessage:
    return message._replace(traceparent=context.traceparent, tracestate=context.tracestate)


def _prometheus_file(folder: Path, verb: str, readings: Callable[[], Iterable[Reading]]) -> "PrometheusFile":
    try:
        from allocation_worker.adapters.prometheus_file import PrometheusFile  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise PrometheusNotInstalledError from error
    return PrometheusFile(folder, verb, readings)


def _opentelemetry(verb: str, readings: Callable[[], Iterable[Reading]]) -> "OpenTelemetry | None":
    """Return what exports; None, with a line in the log, if it is not installed.

    The variables may be set for all programs of a machine, so they never end one that cannot heed them.
    """
    try:
        from allocation_worker.adapters.otel import OpenTelemetry  # noqa: PLC0415 - an optional extra
    except ImportError:
        detail = "Variables OTEL_* are set, and OpenTelemetry is not installed: install allocation-worker[otel]."
        log.warning("telemetry_unavailable", detail=detail)
        return None
    try:
        return OpenTelemetry(verb, __version__, readings)
    except TelemetryError as error:
        log.warning("telemetry_unavailable", detail=str(error))
        return None


@contextmanager
def _written(file: "PrometheusFile", every: float) -> Iterator[None]:
    """Write the file every so many seconds until the block ends; then it is removed."""
    stopping = Event()

    def run() -> None:
        told = False
        while True:
            try:
                file.write()
                told = False
            except OSError as error:
                if not told:
                    told = True
                    log.warning("metrics_unwritable", place=str(file.path), error=error.strerror or str(error))
            if stopping.wait(every):
                break
        try:
            file.remove()
        except OSError:
            return  # it could not be written either

    with _beside(run, "metrics", stopping):
        yield


@contextmanager
def _beside(run: Callable[[], None], name: str, stopping: Event) -> Iterator[None]:
    """Run something in a thread until the block ends, and leave it some seconds then."""
    thread = Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(_LAST_WRITE)
