"""What one bad message costs its group."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count, islice

from allocation_contracts import ORDERS_QUEUE
from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.unit_of_work import PostgresUnitOfWork
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.bootstrap.database import engine
from allocation_worker.config import PREFIX, load
from allocation_worker.domain.commands import Allocate
from allocation_worker.service_layer.groups import GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS, allocate
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports import UnitOfWork
from allocation_worker.testing.servers import Servers
from bench import workloads
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide
from bench.workloads import EncodedCommand

GROUP = 1_000
GROUPS = 7
POSITIONS = (0, GROUP // 2 + 1, GROUP - 1)
GROUP_GOAL = 3.0


class _BadMessageError(Exception):
    """Raised for the bad message."""


def _allocate_unless_bad(command: Allocate, uow: UnitOfWork) -> None:
    allocate(command, uow)
    if command.orderid.startswith("bad"):
        raise _BadMessageError


def one_bad_message(servers: Servers, shown: ProgressBar) -> Result:
    """Process groups that are good, and groups in which one message fails, by turns."""
    work = f"a group of {GROUP:,} with one bad message"
    side = WorkerSide(servers)
    side.seed(workloads.allocates(GROUP, skus=1000).stock)
    lines = workloads.new_lines(GROUP * (GROUPS + 1) * (len(POSITIONS) + 1), skus=1000, seed=7)
    tags = count(1)

    def group(bad: int | None) -> list[CommandMessage]:
        return [
            wire.read_queued(_delivered(next(tags), line, bad=number == bad))
            for number, line in enumerate(islice(lines, GROUP))
        ]

    with _group_processor(side) as service:
        _timed(service, group(None), bad=0)
        times: dict[int | None, list[float]] = {None: [], **{position: [] for position in POSITIONS}}
        for _ in range(GROUPS):
            for position, found in times.items():
                found.append(_timed(service, group(position), bad=position is not None))
    servers.database.drop(side.database_url)
    medians = {position: statistics.median(found) for position, found in times.items()}
    worst = max(medians[position] for position in POSITIONS) / medians[None]
    shown.say(f"{work}: {worst:.2f}")
    return Result(
        work=work,
        goal=f"<= {GROUP_GOAL:.0f}x a good one",
        found=f"{worst:.1f}x ({medians[None] * 1000:.0f} ms for a good one)",
        met=worst <= GROUP_GOAL,
        figures={"seconds": {"good" if position is None else str(position): times[position] for position in times}},
    )


@contextmanager
def _group_processor(side: WorkerSide) -> Iterator[GroupProcessor]:
    settings = load(**{name.removeprefix(PREFIX).lower(): value for name, value in side.settings.items()})
    database = engine(settings, "consume")
    bus = MessageBus({**COMMAND_HANDLERS, Allocate: _allocate_unless_bad}, EVENT_HANDLERS)
    try:
        yield GroupProcessor(bus, partial(PostgresUnitOfWork, database), settings.retry_policy)
    finally:
        database.dispose()


def _timed(service: GroupProcessor, messages: Sequence[CommandMessage], *, bad: int) -> float:
    began = time.perf_counter()
    outcomes = service.process(messages)
    seconds = time.perf_counter() - began
    if sum(not isinstance(outcome, Done) for outcome in outcomes) != bad:
        raise RuntimeError(f"{bad} of {len(messages)} should have failed.")
    return seconds


def _delivered(tag: int, line: EncodedCommand, *, bad: bool) -> Delivery:
    return Delivery(
        tag=tag,
        queue=ORDERS_QUEUE,
        generation=1,
        body=line.body.replace(b'"order-', b'"bad-', 1) if bad else line.body,
        failures=0,
        routing_key=line.routing_key,
        exchange="",
        properties=line.properties,
    )
