"""Measures the loops of a process.

The loops know nothing of it: what they are given is wrapped, and only if somebody takes the values.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from threading import Event
from time import monotonic
from typing import Generic, TypeVar

import structlog

from allocation_contracts.results import PublishResult
from allocation_worker.service_layer import telemetry
from allocation_worker.service_layer.outcomes import Outcome
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent
from allocation_worker.service_layer.ports import Delivered, Deliveries, EventPublisher, StoreError
from allocation_worker.service_layer.ports.telemetry import Recorder
from allocation_worker.service_layer.telemetry import DESTINATION, ERROR, OPERATION, RABBITMQ, SYSTEM, Reading

D = TypeVar("D", bound=Delivered)

Clock = Callable[[], float]

log = structlog.get_logger()


class Recorders:
    """Several recorders as one."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = recorders

    def add(self, counter: telemetry.Metric, amount: int, attributes: telemetry.Attributes) -> None:
        for recorder in self._recorders:
            recorder.add(counter, amount, attributes)

    def record(self, histogram: telemetry.Metric, value: float, attributes: telemetry.Attributes) -> None:
        for recorder in self._recorders:
            recorder.record(histogram, value, attributes)


class MeasuredDeliveries(Generic[D]):
    """The deliveries of a queue, counted as they are taken and settled.

    Args:
        deliveries: The deliveries.
        recorder: Takes the values.
        done: What a message is called that is done and not rejected.
        clock: Seconds that never go back.
    """

    def __init__(
        self, deliveries: Deliveries[D], recorder: Recorder, *, done: str = "answered", clock: Clock = monotonic
    ) -> None:
        self._deliveries = deliveries
        self._recorder = recorder
        self._done = done
        self._clock = clock
        self._taken_at: float | None = None
        self._queue = {DESTINATION: deliveries.queue}
        about = {SYSTEM: RABBITMQ, **self._queue}
        self._receiving = about | {OPERATION: "consume"}
        self._processing = about | {OPERATION: "process"}

    @property
    def queue(self) -> str:
        return self._deliveries.queue

    def take(self, limit: int, within: float | None = None) -> list[D] | None:
        taken = self._deliveries.take(limit, within)
        self._taken_at = self._clock() if taken else None
        if taken:
            self._recorder.add(telemetry.RECEIVED, len(taken), self._receiving)
            self._recorder.record(telemetry.GROUP_SIZE, len(taken), self._queue)
        return taken

    def ack(self, results: Sequence[tuple[D, Outcome]]) -> None:
        self._deliveries.ack(results)
        if self._taken_at is not None:  # None if they had been set aside
            self._recorder.record(telemetry.GROUP_DURATION, self._clock() - self._taken_at, self._processing)
            self._taken_at = None
        counts: Counter[tuple[tuple[str, str], ...]] = Counter()
        waiting = 0
        for _, outcome in results:
            attributes = telemetry.outcome_attributes(outcome, self._done)
            if attributes is None:
                waiting += 1
            else:
                counts[tuple(attributes.items())] += 1
        for items, count in counts.items():
            self._recorder.add(telemetry.SETTLED, count, self._queue | dict(items))
        if waiting:
            self._recorder.add(telemetry.SET_ASIDE, waiting, self._queue)

    def hold(self) -> None:
        self._deliveries.hold()

    def release(self) -> None:
        self._deliveries.release()


class _Batch:
    """Events that were published together."""

    __slots__ = ("began", "left")

    def __init__(self, began: float, left: int) -> None:
        self.began = began
        self.left = left


class MeasuredPublisher:
    """A publisher of events, which measures how long their confirms take.

    Args:
        publisher: The publisher.
        recorder: Takes the values.
        exchange: Where it publishes.
        clock: Seconds that never go back.
    """

    def __init__(
        self, publisher: EventPublisher, recorder: Recorder, exchange: str, *, clock: Clock = monotonic
    ) -> None:
        self._publisher = publisher
        self._recorder = recorder
        self._clock = clock
        self._about = {SYSTEM: RABBITMQ, OPERATION: "publish", DESTINATION: exchange}
        self._batches: dict[int, _Batch] = {}

    @property
    def connected(self) -> bool:
        return self._publisher.connected

    def publish(self, batch: Sequence[OutgoingEvent]) -> None:
        begun = _Batch(self._clock(), len(batch))
        self._batches.update((event.id, begun) for event in batch)
        self._publisher.publish(batch)

    def take_results(self) -> list[MessageResult]:
        results = self._publisher.take_results()
        if not results:
            return results
        for each in results:
            batch = self._batches.pop(each.id)
            batch.left -= 1
            if not batch.left:
                self._recorder.record(telemetry.PUBLISH_DURATION, self._clock() - batch.began, self._about)
        for kind, count in Counter(each.result for each in results).items():
            self._recorder.add(telemetry.SENT, count, self._about | _error(kind))
        return results


def _error(result: PublishResult) -> dict[str, str]:
    return {} if result is PublishResult.CONFIRMED else {ERROR: result.name.lower()}


class Gauges:
    """The last readings of what has to be asked for: one who asks, and others who read.

    Args:
        looks: Each yields readings, and may raise `StoreError`, or an error of its adapter among `failures`.
        failures: The errors that mean that there is nothing to read now.
    """

    def __init__(
        self,
        looks: Sequence[Callable[[], Iterable[Reading]]],
        failures: tuple[type[Exception], ...] = (StoreError,),
    ) -> None:
        self._looks = looks
        self._failures = failures
        self._failing: set[int] = set()
        self.readings: Sequence[Reading] = ()

    def look_until(self, stopping: Event, active: Event, every: float) -> None:
        """Look every so many seconds while `active` is set, until `stopping`; meant for a thread of its own.

        Only one process is to tell what all see.
        """
        while not stopping.is_set():
            self.readings = self._look() if active.is_set() else ()
            stopping.wait(every if active.is_set() else min(every, 1.0))
        self.readings = ()

    def _look(self) -> Sequence[Reading]:
        found: list[Reading] = []
        for number, look in enumerate(self._looks):
            try:
                found += look()
                self._failing.discard(number)
            except self._failures as error:
                if number not in self._failing:
                    self._failing.add(number)
                    log.warning("gauges_unreadable", error=str(error))
        return found
