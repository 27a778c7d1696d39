"""The benchmarks of latency and memory."""

import statistics
import time
from dataclasses import asdict

from allocation_worker.testing.servers import Servers
from bench import seeds, workloads
from bench.broker import Watch, fill
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import BareSide, Side, WorkerSide, peak_megabytes, plain
from bench.traffic import Latency, OrderStream
from harness.processes import ended

RATE = 100
LATENCY_SLICES = 3
SLICE_SECONDS = 15
WARM_UP = 3
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
