"""Holds of which very many lapse within a minute, while orders of other products come at a steady rate."""

import random
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from allocation_contracts import Hold
from allocation_worker.testing.servers import Servers
from bench import seeds, workloads
from bench.broker import Watch
from bench.large import GOAL_OF_OTHERS, MEMORY_GOAL, RATE, WARM_UP, compared, keeps_pace, written
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide, execute, peak_megabytes
from bench.traffic import OrderStream
from bench.workloads import PLENTY, EncodedCommand, InitialBatch, encoded

HOLDS = 100_000
SKUS = 1000
MINUTE = 60.0
LEAD = 10.0
"""Seconds to the first hold that is due, once all runs."""
BEFORE = 5.0
"""Seconds of orders of other products before that."""
LATE_GOAL = 5.0
"""The longest from the time of a hold to its event, in seconds. Holds lapse once a second."""


def lapsing(servers: Servers, shown: ProgressBar) -> Result:
    """100,000 holds of 1,000 products lapse, evenly over a minute."""
    work = f"{HOLDS:,} holds of {SKUS:,} products lapse within a minute"
    shown.say(f"{work}: filling")
    side = WorkerSide(servers)
    others = workloads.allocates(int((MINUTE + LEAD) * 2 * RATE), skus=200)
    skus = [f"HELD-{number:04}" for number in range(SKUS)]
    side.seed([*(InitialBatch(reference=sku, sku=sku, qty=PLENTY) for sku in skus), *others.stock])
    # Longer than the filling takes.
    meant = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    holds = list(_holds(skus, meant))
    seeds.by_commands(side.database_url, holds)
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
    with side.running():
        side.wait_until_consuming()
        began, due = _begin(side, meant, holds)
        time.sleep(max(0.0, began - BEFORE - time.perf_counter()))
        traffic = OrderStream(side.amqp_url, others.orders, RATE, followed=due)
        told = shown.counting(work)

        def done() -> bool:
            told(len(traffic.followed), HOLDS)
            return len(traffic.followed) >= HOLDS and time.perf_counter() > traffic.followed[-1].at + 1

        traffic.run(done)
        peaks = {"consume": peak_megabytes(side.consumers[0].pid), "relay": peak_megabytes(side.relay.pid)}
    servers.database.drop(side.database_url)
    return _result(work, traffic, due, peaks, began)


def _holds(skus: list[str], first: datetime) -> Iterator[EncodedCommand]:
    rng = random.Random(7)
    for number in range(HOLDS):
        until = first + timedelta(seconds=MINUTE * number / HOLDS)
        yield encoded(Hold(orderid=f"basket-{number}", sku=skus[number % len(skus)], qty=1, until=until), rng)


def _begin(side: WorkerSide, meant: datetime, holds: list[EncodedCommand]) -> tuple[float, Mapping[str, float]]:
    """Have the holds lapse from soon on; return when the first and each is due, by `time.perf_counter`."""
    first = datetime.now(UTC) + timedelta(seconds=LEAD)
    earlier = (meant - first).total_seconds()
    execute(
        side.database_url,
        f"UPDATE order_lines SET held_until = held_until - interval '{earlier} seconds' "  # noqa: S608 - a number
        "WHERE held_until IS NOT NULL",
        "VACUUM order_lines",
    )
    began = time.perf_counter() + (first - datetime.now(UTC)).total_seconds()
    return began, {it.message_id: began + MINUTE * number / HOLDS for number, it in enumerate(holds)}


def _result(work: str, traffic: OrderStream, due: Mapping[str, float], peaks: dict[str, float], began: float) -> Result:
    late = sorted(event.at - due[event.cause] for event in traffic.followed)
    median, p99 = statistics.median(late), late[int(0.99 * (len(late) - 1))]
    before = traffic.latency(traffic.began + WARM_UP, began)
    meanwhile = traffic.latency(began, traffic.followed[-1].at)
    twice = len(late) - len({event.cause for event in traffic.followed})
    return Result(
        work=work,
        goal=f"each within {LATE_GOAL:.0f} s, once; each process <= {MEMORY_GOAL} MB; {GOAL_OF_OTHERS}",
        met=not twice
        and late[-1] <= LATE_GOAL
        and max(peaks.values()) <= MEMORY_GOAL
        and keeps_pace(before, meanwhile),
        found=f"{twice} twice; from its time to its event: median {median:.1f} s, p99 {p99:.1f} s, longest "
        f"{late[-1]:.1f} s; {written(peaks)}; {compared(before, meanwhile)}",
        figures={
            "twice": twice,
            "seconds_late": {"median": median, "p99": p99, "longest": late[-1]},
            "peak_megabytes": peaks,
            "others_before": asdict(before),
            "others_meanwhile": asdict(meanwhile),
        },
    )
