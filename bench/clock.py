"""Times one run of either side from outside.

All commands wait in the queue. The clock starts when the first command leaves it, and stops when the last event is in
the subscriber's queue, a durable quorum queue without a consumer. Queue lengths are read every 20 ms. The time includes
the start-up and the first, slow group.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from allocation_contracts import ORDERS_QUEUE
from bench.broker import SUBSCRIBER, Watch, fill
from bench.sides import Side, WorkerSide
from bench.workloads import Workload

EVERY = 0.02
QUIET = 1.0
"""A run ends after this many seconds without a new event, if every command is answered."""
LIMIT = 600.0

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The result of one run. `commands`, `seconds` and `cpu_seconds` count from the start of the clock."""

    side: str
    commands: int
    events: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Commands per second."""
        return self.commands / self.seconds


def run(side: Side, workload: Workload, told: Told = lambda _done, _of: None) -> Run:
    """Fill, start, time, check.

    Raises:
        AssertionError: A command has no answer, or events came out of order.
    """
    fill(side.amqp_url, workload.orders, len(workload.orders))
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
        with side.running():
            started = _wait_for_first(watch, len(workload.orders))
            ended, events = wait_for_last(watch, workload, told)
            cpu = side.cpu_seconds()
        _check(watch, workload)
    return Run(side=side.name, commands=workload.commands, events=events, seconds=ended - started, cpu_seconds=cpu)


def run_started(
    side: WorkerSide,
    workload: Workload,
    told: Told = lambda _done, _of: None,
    *,
    used: Callable[[], float] | None = None,
) -> Run:
    """As `run`, with the clock started once every consumer takes commands at full speed.

    Args:
        side: The worker.
        workload: The commands.
        told: Told of the progress.
        used: Returns the processor time used so far, in seconds; that of the side's processes by default.
    """
    used = used or side.cpu_seconds
    fill(side.amqp_url, workload.orders, len(workload.orders))
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
        with side.running():
            side.wait_for_consumers()
            started, before, used_before = time.perf_counter(), watch.depth(SUBSCRIBER), used()
            ended, events = wait_for_last(watch, workload, told)
            cpu = used() - used_before
        _check(watch, workload)
    return Run(side=side.name, commands=events - before, events=events, seconds=ended - started, cpu_seconds=cpu)


def _wait_for_first(watch: Watch, queued: int) -> float:
    deadline = time.perf_counter() + 30
    while watch.depth(ORDERS_QUEUE) == queued:
        if time.perf_counter() > deadline:
            raise TimeoutError("No command was taken within 30 s; see the newest log in bench/results/logs.")
        time.sleep(EVERY / 4)
    return time.perf_counter()


def wait_for_last(watch: Watch, workload: Workload, told: Told) -> tuple[float, int]:
    """When the last event came, and how many there are."""
    events, news = 0, 0
    last = begun = time.perf_counter()
    while events < workload.commands or time.perf_counter() < last + (QUIET if workload.news else 0):
        depth = watch.depth(SUBSCRIBER)
        if depth > events:
            events, last = depth, time.perf_counter()
            told(min(events, workload.commands), workload.commands)
        due = min(len(workload.news), len(workload.news) * events // max(1, len(workload.orders)) + 1)
        watch.send(workload.news[news:due])
        news = due
        if time.perf_counter() > begun + LIMIT:
            raise TimeoutError(f"{events} events for {workload.commands} commands within {LIMIT:.0f} s.")
        time.sleep(EVERY)
    return last, events


def _check(watch: Watch, workload: Workload) -> None:
    """Check that no command is lost and that the events of each SKU are in order."""
    answered: set[str] = set()
    latest: dict[str, int] = {}
    for cause, event in watch.take_events():
        answered.add(cause)
        if "sequence" in event:
            sku, sequence = event["sku"], event["sequence"]
            if sequence != latest.get(sku, sequence - 1) + 1:
                raise AssertionError(f"{sku}: event {sequence} came after {latest[sku]}.")
            latest[sku] = sequence
    unanswered = {it.message_id for it in (*workload.orders, *workload.news)} - answered
    if unanswered:
        raise AssertionError(f"{len(unanswered)} commands have no answer.")
