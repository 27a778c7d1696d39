"""What the measuring of the service needs: somebody who takes the values, and somebody who takes the spans."""

from typing import Literal, Protocol

from allocation_contracts import AllocationError
from allocation_worker.service_layer.telemetry import Attributes, Metric, TraceContext


class TelemetryError(AllocationError):
    """What is to take the values cannot begin."""


class Recorder(Protocol):
    """Takes what is counted and measured. Thread-safe; it raises nothing, and waits for nothing outside."""

    def add(self, counter: Metric, amount: int, attributes: Attributes) -> None:
        """Add to a counter."""

    def record(self, histogram: Metric, value: float, attributes: Attributes) -> None:
        """Add a value to a histogram."""


class Span(Protocol):
    """A span of a trace that has begun."""

    @property
    def context(self) -> TraceContext:
        """The trace context whose parent is this span, for what follows from it."""

    def end(self, attributes: Attributes, *, error: str | None = None) -> None:
        """End it, with further attributes; `error` says in one word why it failed."""


class Tracer(Protocol):
    """Begins spans. Thread-safe; it raises nothing, and waits for nothing outside."""

    def begin(
        self, name: str, kind: Literal["consumer", "producer"], parent: TraceContext | None, attributes: Attributes
    ) -> Span:
        """Begin a span, in the trace of its parent if it has one."""
