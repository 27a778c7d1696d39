"""The benchmark of pruning: a large inbox of mixed ages, with orders meanwhile. It takes about five minutes."""

import time
from collections.abc import Callable
from dataclasses import asdict

from allocation_worker.testing.servers import Servers
from bench import workloads
from bench.broker import Watch
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide, execute
from bench.traffic import OrderStream

ROWS = 20_000_000
RATE = 100
LONGEST = 240
"""Seconds."""
QUIET = 20
WARM_UP = 3
NOBODY_WAITS = 2
"""The p99 while rows are deleted, in multiples of that afterwards."""

# An eighth of them is old, anywhere in the table. Ages in order would be easier.
FILL = (
    "ALTER TABLE inbox_entries DROP CONSTRAINT inbox_entries_pkey",
    f"""
    INSERT INTO inbox_entries (key, fingerprint, received_at)
    SELECT gen_random_uuid(), sha256('x'), now() - random() * interval '8 days' FROM generate_series(1, {ROWS})
    """,  # noqa: S608 - a number
    "ALTER TABLE inbox_entries ADD PRIMARY KEY (key)",
    "VACUUM ANALYZE inbox_entries",
    "CHECKPOINT",
)


def prune(servers: Servers, shown: ProgressBar) -> Result:
    """The old rows of an inbox of 20,000,000 are deleted, while orders come at a steady rate."""
    work = f"{ROWS:,} inbox rows, an eighth of them too old; {RATE} orders a second meanwhile"
    side = WorkerSide(servers)
    load = workloads.allocates(RATE * LONGEST, skus=1000)
    side.seed(load.stock)
    shown.say(f"{work}: filling")
    execute(side.database_url, *FILL)
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
    shown.say(f"{work}: pruning")
    with side.running():
        began = time.perf_counter()
        traffic = OrderStream(side.amqp_url, load.orders, RATE)
        ended = _moment(lambda: bool(_pruned(side)))
        traffic.run(lambda: bool((at := ended()) and time.perf_counter() > at + QUIET))
        rows = _pruned(side)
        at = ended() or 0.0
    servers.database.drop(side.database_url)
    meanwhile, afterwards = traffic.latency(began + WARM_UP, at), traffic.latency(at, at + QUIET - 1)
    seconds = at - began
    return Result(
        work=work,
        goal=f"p99 of the orders <= {NOBODY_WAITS}x that afterwards",
        found=f"{rows:,} rows gone after {seconds:.0f} s, {rows / seconds:,.0f} a second; orders: median "
        f"{meanwhile.median:.1f} ms, p99 {meanwhile.p99:.1f} ms (afterwards {afterwards.median:.1f} and "
        f"{afterwards.p99:.1f} ms)",
        met=meanwhile.p99 <= NOBODY_WAITS * afterwards.p99,
        figures={
            "rows": rows,
            "seconds": seconds,
            "orders_meanwhile": asdict(meanwhile),
            "orders_afterwards": asdict(afterwards),
        },
    )


def _pruned(side: WorkerSide) -> int:
    """Return how many rows of the inbox have gone; 0 before the first round has ended."""
    told = [line for line in side.relay.events if line["event"] == "rows_pruned" and line["table"] == "inbox_entries"]
    return sum(line["count"] for line in told)


def _moment(happened: Callable[[], bool]) -> Callable[[], float | None]:
    """Return a function that tells when something happened, None before; it looks once a second."""
    found: float | None = None
    look_at = 0.0

    def moment() -> float | None:
        nonlocal found, look_at
        now = time.perf_counter()
        if found is None and now >= look_at:
            look_at = now + 1
            found = now if happened() else None
        return found

    return moment
