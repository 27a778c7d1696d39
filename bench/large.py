"""One command about very many lines of one product, while orders of other products come at a steady rate."""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from itertools import pairwise

from allocation_contracts import Allocate, ChangeBatchEta, ChangeBatchQuantity, Command, CreateBatch
from allocation_worker.testing.servers import Servers
from bench import seeds, workloads
from bench.broker import Watch
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide, peak_megabytes
from bench.traffic import Latency, OrderStream
from bench.workloads import PLENTY, EncodedCommand, InitialBatch, encoded

RATE = 100
LONGEST = 300
"""Seconds."""
WARM_UP = 1
"""Seconds of orders of other products that are not measured."""
BEFORE = 6
"""Seconds of orders of other products before the command."""
ANOTHER_AFTER = 1
"""Seconds after the command, when an order of the same product comes."""
MEDIAN_GOAL, P99_GOAL = 2, 10
"""The latency of other orders, in multiples of that before."""
FAIR_GOAL = 1.1
"""The median latency of other orders, in multiples of that while only events are published."""
MEMORY_GOAL = 130
"""In MB."""
GOAL_OF_OTHERS = f"latency of others: median <= {MEDIAN_GOAL}x, p99 <= {P99_GOAL}x that before"
GOAL_BESIDE_RELAY = f"latency of others: median <= {FAIR_GOAL}x that while only events are published"

SHRUNK, SERVED, LATER = 50_000, 100_000, 50_000
SHIP, DELAYED = date(2031, 1, 1), date(2031, 2, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """A command about many lines of the SKU "BIG".

    Attributes:
        work: What is measured.
        stock: The batches of the SKU.
        lines: The commands before it, answered at once.
        command: The command.
        events: How many events it causes.
        beside_before: Whether the goal of other orders is their own latency before; else it is that while the relay
            publishes the events of the command, and lets others pass.
    """

    work: str
    stock: Sequence[InitialBatch]
    lines: Iterable[Command] = field(default=())
    command: Command
    events: int
    beside_before: bool = False


def shrink(servers: Servers, shown: ProgressBar) -> Result:
    """A batch of 50,000 lines shrunk to nothing, with other stock for all of them."""
    return _measure(
        servers,
        shown,
        Large(
            work=f"a batch of {SHRUNK:,} lines shrunk to nothing",
            stock=[_batch("first", 5 * SHRUNK), _batch("second", PLENTY)],
            lines=orders(SHRUNK),
            command=ChangeBatchQuantity(batchref="first", qty=0),
            events=1 + 2 * SHRUNK,
            beside_before=True,
        ),
    )


def serve(servers: Servers, shown: ProgressBar) -> Result:
    """A batch created for 100,000 lines that wait."""
    return _measure(
        servers,
        shown,
        Large(
            work=f"a batch created for {SERVED:,} lines that wait",
            stock=[_batch("first", 1)],
            lines=orders(SERVED, wait=True),
            command=CreateBatch(batchref="second", sku="BIG", qty=PLENTY),
            events=1 + SERVED,
        ),
    )


def later_ship(servers: Servers, shown: ProgressBar) -> Result:
    """A batch of 50,000 lines that arrives later; each line is told."""
    return _measure(
        servers,
        shown,
        Large(
            work=f"a batch of {LATER:,} lines arrives later",
            stock=[_batch("first", PLENTY, SHIP)],
            lines=orders(LATER),
            command=ChangeBatchEta(batchref="first", eta=DELAYED),
            events=1 + LATER,
        ),
    )


def too_late(servers: Servers, shown: ProgressBar) -> Result:
    """A batch of 50,000 lines that arrives too late for all of them, with other stock for them."""
    return _measure(
        servers,
        shown,
        Large(
            work=f"a batch of {LATER:,} lines arrives too late for each",
            stock=[_batch("first", 5 * LATER, SHIP), _batch("second", PLENTY, SHIP + timedelta(days=1))],
            lines=orders(LATER, needed_by=SHIP + timedelta(days=1)),
            command=ChangeBatchEta(batchref="first", eta=DELAYED),
            events=1 + 2 * LATER,
        ),
    )


def _batch(reference: str, qty: int, eta: date | None = None) -> InitialBatch:
    return InitialBatch(reference=reference, sku="BIG", qty=qty, eta=eta)


def orders(count: int, *, wait: bool = False, needed_by: date | None = None) -> Iterator[Command]:
    """Return orders of the SKU "BIG", 5 each."""
    for number in range(count):
        yield Allocate(orderid=f"big-{number}", sku="BIG", qty=5, wait=wait, needed_by=needed_by)


def _measure(servers: Servers, shown: ProgressBar, large: Large) -> Result:
    shown.say(f"{large.work}: filling")
    rng = random.Random(5)
    side = WorkerSide(servers)
    others = workloads.allocates(LONGEST * RATE, skus=200)
    side.seed([*large.stock, *others.stock])
    seeds.by_commands(side.database_url, (encoded(it, rng) for it in large.lines))
    command = encoded(large.command, rng)
    another = encoded(Allocate(orderid="another", sku="BIG", qty=1), rng)
    stream = list(others.orders)
    stream.insert((BEFORE + ANOTHER_AFTER) * RATE, another)
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
    with side.running():
        side.wait_until_consuming()
        traffic = OrderStream(side.amqp_url, stream, RATE, special=command, special_after=BEFORE)
        told = shown.counting(large.work)

        def done() -> bool:
            told(len(traffic.followed), large.events)
            return (
                len(traffic.followed) >= large.events
                and another.message_id in traffic.waited
                and time.perf_counter() > traffic.followed[-1].at + 2
            )

        traffic.run(done)
        peaks = {"consume": peak_megabytes(side.consumers[0].pid), "relay": peak_megabytes(side.relay.pid)}
    servers.database.drop(side.database_url)
    return _result(large, traffic, another, peaks)


def _result(large: Large, traffic: OrderStream, another: EncodedCommand, peaks: dict[str, float]) -> Result:
    another_waited = traffic.waited.pop(another.message_id)
    sent, first, last = traffic.special_sent, traffic.followed[0].at, traffic.followed[-1].at
    disordered = sum(after.sequence < before.sequence for before, after in pairwise(traffic.followed))
    before = traffic.latency(traffic.began + WARM_UP, sent)
    meanwhile, decided, published = (traffic.latency(*it) for it in ((sent, last), (sent, first), (first, last)))
    fair = meanwhile.median / published.median
    others_met = keeps_pace(before, meanwhile) if large.beside_before else fair <= FAIR_GOAL
    goal_of_others = GOAL_OF_OTHERS if large.beside_before else GOAL_BESIDE_RELAY
    order = f"out of order {disordered} times; " if disordered else ""
    return Result(
        work=large.work,
        goal=f"events in order; consume <= {MEMORY_GOAL} MB; {goal_of_others}",
        met=disordered == 0 and peaks["consume"] <= MEMORY_GOAL and others_met,
        found=f"{order}first event after {first - sent:.1f} s, last after {last - sent:.1f} s; an order of that "
        f"product sent after {ANOTHER_AFTER} s is answered after {another_waited:.1f} s; {written(peaks)}; "
        f"{compared(before, meanwhile)}; {fair:.2f} of the median after the first event ({published.median:.0f} ms, "
        f"until then {decided.median:.0f} ms)",
        figures={
            "disordered": disordered,
            "first_event_seconds": first - sent,
            "last_event_seconds": last - sent,
            "another_order_seconds": another_waited,
            "peak_megabytes": peaks,
            "others_before": asdict(before),
            "others_meanwhile": asdict(meanwhile),
            "others_until_the_first_event": asdict(decided),
            "others_after_the_first_event": asdict(published),
        },
    )


def keeps_pace(before: Latency, meanwhile: Latency) -> bool:
    """Return whether the orders of other products meet their goal."""
    return meanwhile.median <= MEDIAN_GOAL * before.median and meanwhile.p99 <= P99_GOAL * before.p99


def compared(before: Latency, meanwhile: Latency) -> str:
    """Tell the latency of the orders of other products."""
    return (
        f"other orders, {RATE} a second: median {meanwhile.median:.0f} ms, {meanwhile.median / before.median:.1f}x, "
        f"p99 {meanwhile.p99:.0f} ms, {meanwhile.p99 / before.p99:.1f}x, longest {meanwhile.longest / 1000:.1f} s"
    )


def written(peaks: dict[str, float]) -> str:
    """Tell the most memory that each process has had."""
    return ", ".join(f"{name} {most:.0f} MB" for name, most in peaks.items())
