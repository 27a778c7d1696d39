"""The benchmarks other than throughput: a large shrink, latency, memory."""

import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise

from allocation_contracts import ChangeBatchQuantity
from allocation_worker.testing.servers import Servers
from bench import seeds, workloads
from bench.broker import Watch, fill
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import BareSide, Side, WorkerSide, peak_megabytes, plain
from bench.traffic import Latency, OrderStream
from bench.workloads import PLENTY, InitialBatch, encoded
from harness.processes import ended

RATE = 100
LATENCY_SLICES = 3
SLICE_SECONDS = 15
WARM_UP = 3
SHRUNK_LINES = 50_000
QUEUED = 1_000_000
MEMORY_SECONDS = 20
LATENCY_GOAL = 1.4, 1.6
"""The median and the p99, in multiples of the bare loop's."""
MEMORY_GOALS = {"consume": 88, "relay": 82}
"""In MB: what both took before the outbox was in pages."""


def latency(servers: Servers, shown: ProgressBar) -> Result:
    """Command published to event received, at a steady rate; each side's median of three slices, by turns."""
    work = f"latency at {RATE} commands a second"
    found: dict[str, list[Latency]] = {BareSide.name: [], WorkerSide.name: []}
    for number in range(LATENCY_SLICES):
        for new_side in (BareSide, WorkerSide):
            side: Side = new_side(servers)
            it = _slice(side, number)
            shown.say(f"{work}: {side.name}: median {it.median:.1f} ms, p99 {it.p99:.1f} ms")
            found[side.name].append(it)
            servers.database.drop(side.database_url)
    medians = {name: statistics.median(it.median for it in slices) for name, slices in found.items()}
    p99s = {name: statistics.median(it.p99 for it in slices) for name, slices in found.items()}
    worker, bare = WorkerSide.name, BareSide.name
    median, p99 = medians[worker] / medians[bare], p99s[worker] / p99s[bare]
    return Result(
        work=work,
        goal=f"median <= {LATENCY_GOAL[0]}x, p99 <= {LATENCY_GOAL[1]}x the bare loop",
        found=f"median {median:.1f}x ({medians[worker]:.1f} ms), p99 {p99:.1f}x ({p99s[worker]:.1f} ms)",
        met=median <= LATENCY_GOAL[0] and p99 <= LATENCY_GOAL[1],
        figures={
            "median_ratio": median,
            "p99_ratio": p99,
            "slices": {name: [asdict(it) for it in slices] for name, slices in found.items()},
        },
    )


def _slice(side: Side, number: int) -> Latency:
    load = workloads.allocates(RATE * SLICE_SECONDS, skus=1000, seed=number)
    side.seed(load.stock)
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
    with side.running():
        time.sleep(WARM_UP)
        traffic = OrderStream(side.amqp_url, load.orders, RATE)
        traffic.run(lambda: traffic.finished)
    return traffic.latency(since=traffic.began + WARM_UP)


def shrink(servers: Servers, shown: ProgressBar) -> Result:
    """A batch of 50,000 lines shrunk to nothing, with other stock for all of them; orders of other SKUs meanwhile."""
    work = f"a batch of {SHRUNK_LINES:,} lines shrunk to nothing"
    shown.say(f"{work}: filling")
    side = WorkerSide(servers)
    side.seed([InitialBatch(reference="BIG/other", sku="BIG", qty=PLENTY)])
    seeds.history(plain(side.database_url), per_sku=SHRUNK_LINES)
    others = workloads.allocates(300 * RATE, skus=200)
    side.seed(others.stock)
    special = encoded(ChangeBatchQuantity(batchref="old/BIG", qty=0), random.Random(5))
    events = 1 + 2 * SHRUNK_LINES
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
    with side.running():
        time.sleep(3)
        traffic = OrderStream(side.amqp_url, others.orders, RATE, special=special, special_after=5)
        told = shown.counting(work)

        def done() -> bool:
            told(len(traffic.special_events), events)
            return len(traffic.special_events) >= events and time.perf_counter() > traffic.special_events[-1][0] + 2

        traffic.run(done)
        peaks = {"consume": peak_megabytes(side.consumers[0].pid), "relay": peak_megabytes(side.relay.pid)}
    servers.database.drop(side.database_url)
    return _shrunk(work, traffic, peaks)


def _shrunk(work: str, traffic: OrderStream, peaks: Mapping[str, float]) -> Result:
    arrivals, sequences = zip(*traffic.special_events, strict=True)
    first, last = arrivals[0] - traffic.special_sent, arrivals[-1] - traffic.special_sent
    disordered = sum(after < before for before, after in pairwise(sequences))
    order = f"out of order {disordered} times; " if disordered else ""
    before = traffic.latency(until=traffic.special_sent)
    meanwhile = traffic.latency(traffic.special_sent, arrivals[-1])
    median_ratio, p99_ratio = meanwhile.median / before.median, meanwhile.p99 / before.p99
    return Result(
        work=work,
        goal="events in order; latency of others: median at most 2x, 99 % at most 10x that of before",
        met=disordered == 0 and median_ratio <= 2 and p99_ratio <= 10,
        found=f"{order}first event after {first:.1f} s, last after {last:.1f} s; peak {peaks['consume']:.0f} MB and "
        f"{peaks['relay']:.0f} MB; other orders, {RATE} a second: median {meanwhile.median:.0f} ms, "
        f"{median_ratio:.1f}x, 99 % {meanwhile.p99:.0f} ms, {p99_ratio:.1f}x, longest {meanwhile.longest / 1000:.1f} s",
        figures={
            "disordered": disordered,
            "first_event_seconds": first,
            "last_event_seconds": last,
            "peak_megabytes": peaks,
            "others_before": asdict(before),
            "others_meanwhile": asdict(meanwhile),
        },
    )


def memory(servers: Servers, shown: ProgressBar) -> Result:
    """Peak resident memory: `consume` on a queue of a million, then `relay` on an outbox of a million."""
    work = f"resident memory with {QUEUED:,} queued"
    side = WorkerSide(servers)
    side.seed(workloads.allocates(1000, skus=1000).stock)
    told = shown.counting(f"{work}: filling the queue")
    fill(side.amqp_url, workloads.new_lines(QUEUED, skus=1000), QUEUED, lambda done: told(done, QUEUED))
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
    peaks = {}
    side.start_consumers()
    with ended(*side.consumers):
        side.wait_for_consumers()
        time.sleep(MEMORY_SECONDS)
        peaks["consume"] = peak_megabytes(side.consumers[0].pid)
        side.consumers[0].terminate()
    shown.say(f"{work}: filling the outbox")
    seeds.history(plain(side.database_url), per_sku=QUEUED // 1000, published="NULL")
    side.start_relay()
    with ended(side.relay):
        time.sleep(MEMORY_SECONDS)
        peaks["relay"] = peak_megabytes(side.relay.pid)
    servers.database.drop(side.database_url)
    return Result(
        work=work,
        goal=", ".join(f"{name} <= {most} MB" for name, most in MEMORY_GOALS.items()),
        found=f"consume {peaks['consume']:.0f} MB, relay {peaks['relay']:.0f} MB",
        met=all(peaks[name] <= most for name, most in MEMORY_GOALS.items()),
        figures={"peak_megabytes": peaks},
    )
