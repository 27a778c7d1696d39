"""What a kill costs the messages in hand, and what one bad message costs its group."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import count, islice

import psycopg2

from allocation_contracts import ORDERS_QUEUE
from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.unit_of_work import Optimism, PostgresUnitOfWork
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
from allocation_worker.testing.waiting import wait_until
from bench import workloads
from bench.broker import Watch, fill
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import FULL_PREFETCH, WorkerSide, plain
from bench.workloads import EncodedCommand
from harness.processes import ended

KILLS = 5
KILL_GOAL = 2.0
GROUP = 1_000
ROUNDS = 15
POSITIONS = (0, GROUP // 2 + 1, GROUP - 1)
GROUP_GOAL = 3.0


def after_a_kill(servers: Servers, shown: ProgressBar) -> Result:
    """Start consumers with a full prefetch waiting, which are new or were in hand at a kill, by turns.

    The time is that from the first look at the queue to the last answer.
    """
    work = f"{FULL_PREFETCH:,} in hand when a consumer is killed"
    times: dict[str, list[float]] = {"new": [], "in hand": []}
    for number in range(KILLS):
        for name, found in times.items():
            side = WorkerSide(servers)
            load_ = workloads.allocates(FULL_PREFETCH, skus=1000, seed=number)
            side.seed(load_.stock)
            fill(side.amqp_url, load_.orders, FULL_PREFETCH)
            with Watch(side.amqp_url) as watch, closing(psycopg2.connect(plain(side.database_url))) as database:
                if name == "in hand":
                    _kill_with_all_in_hand(side, watch, database)
                found.append(_time_of_answers(side, database))
            servers.database.drop(side.database_url)
        shown.say(f"{work}: {times['in hand'][-1]:.2f} s, {times['new'][-1]:.2f} s for new ones")
    new, in_hand = (statistics.median(found) for found in times.values())
    return Result(
        work=work,
        goal=f"<= {KILL_GOAL:.0f}x of new ones, answered within 1 s",
        found=f"{in_hand / new:.1f}x, {in_hand:.2f} s",
        met=in_hand / new <= KILL_GOAL and in_hand <= 1,
        figures={"seconds": times},
    )


def _kill_with_all_in_hand(side: WorkerSide, watch: Watch, database: psycopg2.extensions.connection) -> None:
    with database, database.cursor() as cursor:
        cursor.execute("LOCK TABLE inbox_entries IN ACCESS EXCLUSIVE MODE")  # holds the first group
        side.start_consumers()
        with ended(*side.consumers):
            wait_until(lambda: watch.depth(ORDERS_QUEUE) == 0, within=60, otherwise=lambda: "They are not in hand.")
    wait_until(
        lambda: watch.depth(ORDERS_QUEUE) == FULL_PREFETCH, within=60, otherwise=lambda: "They have not come back."
    )


def _time_of_answers(side: WorkerSide, database: psycopg2.extensions.connection) -> float:
    database.autocommit = True

    def answered() -> bool:
        with database.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM inbox_entries")
            return cursor.fetchone() == (FULL_PREFETCH,)

    side.start_consumers()
    with ended(*side.consumers):
        side.consumers[0].wait_for("consuming", queue=ORDERS_QUEUE)
        began = time.perf_counter()
        wait_until(answered, within=60, otherwise=lambda: "Not all are answered.", every=0.005)
        return time.perf_counter() - began


class _BadMessageError(Exception):
    """Raised for the bad message."""


def _allocate_unless_bad(command: Allocate, uow: UnitOfWork) -> None:
    allocate(command, uow)
    if command.orderid.startswith("bad"):
        raise _BadMessageError


def one_bad_message(servers: Servers, shown: ProgressBar) -> Result:
    """Process a good group, then groups in which one message fails, round by round. The ratio is the rounds' median.

    Before each group that counts, a good one is processed that does not: a group that follows a failure asks for its
    messages before it inserts them, and takes longer.
    """
    work = f"a group of {GROUP:,} with one bad message"
    side = WorkerSide(servers)
    side.seed(workloads.allocates(GROUP, skus=1000).stock)
    lines = workloads.new_lines(2 * GROUP * ROUNDS * (len(POSITIONS) + 1), skus=1000, seed=7)
    tags = count(1)

    def group(bad: int | None) -> list[CommandMessage]:
        return [
            wire.read_queued(_delivered(next(tags), line, bad=number == bad))
            for number, line in enumerate(islice(lines, GROUP))
        ]

    times: dict[int | None, list[float]] = {None: [], **{position: [] for position in POSITIONS}}
    with _group_processor(side) as service:
        for _ in range(ROUNDS):
            for position, found in times.items():
                _timed(service, group(None), bad=0)
                found.append(_timed(service, group(position), bad=position is not None))
    servers.database.drop(side.database_url)
    good = times[None]
    worst = max(
        statistics.median(bad / alone for bad, alone in zip(times[position], good, strict=True))
        for position in POSITIONS
    )
    shown.say(f"{work}: {worst:.2f}")
    return Result(
        work=work,
        goal=f"<= {GROUP_GOAL:.0f}x a good one",
        found=f"{worst:.1f}x ({statistics.median(good) * 1000:.0f} ms for a good one)",
        met=worst <= GROUP_GOAL,
        figures={"seconds": {"good" if position is None else str(position): times[position] for position in times}},
    )


@contextmanager
def _group_processor(side: WorkerSide) -> Iterator[GroupProcessor]:
    settings = load(**{name.removeprefix(PREFIX).lower(): value for name, value in side.settings.items()})
    database = engine(settings, "consume")
    bus = MessageBus({**COMMAND_HANDLERS, Allocate: _allocate_unless_bad}, EVENT_HANDLERS)
    try:
        yield GroupProcessor(bus, partial(PostgresUnitOfWork, database, Optimism()), settings.retry_policy)
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
