"""What a command writes: bytes of WAL, and bytes that stay in the tables that grow with the traffic."""

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import psycopg2

from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from bench import clock, workloads
from bench.broker import Watch
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide, execute, plain
from bench.traffic import OrderStream
from bench.workloads import Workload
from harness.processes import ended

GROUPED = 20_000
ONE_BY_ONE = 3_000
RATE = 100
"""Commands a second, slow enough that each has a transaction of its own."""

WAL_GOAL = 900
STORED_GOAL = 450
TABLES = ("inbox_entries", "outbox_pages", "outbox_unrouted", "order_lines")

_STORED = " + ".join(f"pg_total_relation_size('{it}')" for it in TABLES)
SIZES = f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), {_STORED}"
UNMARKED = "SELECT count(*) FROM outbox_pages WHERE published_at IS NULL"


class Bytes(NamedTuple):
    """Bytes for each command."""

    wal: float
    stored: float


def written(servers: Servers, shown: ProgressBar) -> Result:
    """Count the bytes of commands in full groups, and of commands that come one by one.

    Each is counted in a second run: in the first one, tables and indexes get their first pages, and pages that were not
    changed since the checkpoint are logged whole. Nothing is vacuumed, which would come in one run and not in another.
    """
    work = "bytes that a command writes"
    grouped = _count(servers, GROUPED, clock.run)
    shown.say(f"{work}: in groups: {grouped.wal:.0f} B of WAL, {grouped.stored:.0f} B stored")
    alone = _count(servers, ONE_BY_ONE, one_by_one)
    shown.say(f"{work}: one by one: {alone.wal:.0f} B of WAL, {alone.stored:.0f} B stored")
    return Result(
        work=f"{work}: WAL, and stored in inbox, outbox and lines",
        goal=f"<= {WAL_GOAL} B and {STORED_GOAL} B in groups",
        found=f"{grouped.wal:.0f} B and {grouped.stored:.0f} B; one by one {alone.wal:.0f} B and {alone.stored:.0f} B",
        met=grouped.wal <= WAL_GOAL and grouped.stored <= STORED_GOAL,
        figures={"grouped": grouped._asdict(), "one_by_one": alone._asdict()},
    )


def _count(servers: Servers, commands: int, run: Callable[[WorkerSide, Workload], object]) -> Bytes:
    side = WorkerSide(servers)
    first, second = (workloads.allocates(commands, skus=1000, seed=seed) for seed in (1, 2))
    side.seed(first.stock)
    execute(side.database_url, *(f"ALTER TABLE {it} SET (autovacuum_enabled = off)" for it in TABLES), "CHECKPOINT")
    run(side, first)
    before = _sizes(side)
    run(side, second)
    after = _sizes(side)
    servers.database.drop(side.database_url)
    wal, stored = ((now - then) / commands for then, now in zip(before, after, strict=True))
    return Bytes(wal, stored)


def one_by_one(side: WorkerSide, load: Workload, rate: int = RATE) -> None:
    """Have so many commands come a second."""
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
    with side.running():
        side.wait_until_consuming()
        traffic = OrderStream(side.amqp_url, load.orders, rate)
        traffic.run(lambda: traffic.finished)


def _sizes(side: WorkerSide) -> tuple[int, int]:
    """Return the position in the WAL and the size of the tables, once every page is marked."""
    side.start_relay()
    with ended(side.relay), closing(psycopg2.connect(plain(side.database_url))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:

            def asked(statement: str) -> tuple[int, ...]:
                cursor.execute(statement)
                [row] = cursor.fetchall()
                return tuple(map(int, row))

            wait_until(lambda: asked(UNMARKED) == (0,), within=60, otherwise=lambda: "Pages are not marked.")
            wal, stored = asked(SIZES)
            return wal, stored
