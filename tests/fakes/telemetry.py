"""A recorder and a tracer in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from allocation_worker.service_layer.telemetry import Attributes, Metric, TraceContext


class FakeRecorder:
    """Keeps what it was given.

    Attributes:
        counts: The sum of each counter, by name and the values of its attributes that differ from call to call.
        values: The values of each histogram, by name.
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], int] = {}
        self.values: dict[str, list[float]] = {}

    def add(self, counter: Metric, amount: int, attributes: Attributes) -> None:
        assert set(attributes) <= set(counter.attributes)
        key = (counter.name, *(value for name, value in attributes.items() if not name.startswith("messaging.")))
        self.counts[key] = self.counts.get(key, 0) + amount

    def record(self, histogram: Metric, value: float, attributes: Attributes) -> None:
        assert set(attributes) <= set(histogram.attributes)
        self.values.setdefault(histogram.name, []).append(value)


@dataclass
class FakeSpan:
    """A span; its context is its number."""

    number: int
    name: str
    kind: str
    parent: TraceContext | None
    attributes: dict[str, str]
    ended: bool = False
    error: str | None = None

    @property
    def context(self) -> TraceContext:
        return TraceContext(f"span-{self.number}", self.parent.tracestate if self.parent else None)

    def end(self, attributes: Attributes, *, error: str | None = None) -> None:
        assert not self.ended
        self.ended = True
        self.attributes |= attributes
        self.error = error


@dataclass
class FakeTracer:
    """Keeps the spans that have begun."""

    spans: list[FakeSpan] = field(default_factory=list)

    def begin(
        self,
        name: str,
        kind: Literal["consumer", "producer"],
        parent: TraceContext | None,
        attributes: Mapping[str, str],
    ) -> FakeSpan:
        self.spans.append(FakeSpan(len(self.spans) + 1, name, kind, parent, dict(attributes)))
        return self.spans[-1]
