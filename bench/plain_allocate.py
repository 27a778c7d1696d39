"""What a plain `allocate` costs, beside the version before lines could wait, be held and be shipped."""

import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psycopg2

from allocation_worker.testing.servers import Servers
from bench import workloads
from bench.broker import SUBSCRIBER, Watch
from bench.earlier import in_pairs
from bench.processor_time import Used, folders_of, median_of, used_by
from bench.profiling import count_statements
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide, execute, plain
from bench.written import TABLES

COMMIT = "c01b094"
GOAL = 1.03
ALONE = 300
LOOK_EVERY = 0.005
"""Seconds between two looks for the answer."""
WORK = "a plain allocate, in all processes and servers"

_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
_STATEMENTS = """
    SELECT sum(calls) FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Cost(NamedTuple):
    """What a command costs: microseconds of processor time, bytes of WAL."""

    processor_time: Used
    wal: float

    def __str__(self) -> str:
        return f"{self.processor_time}; {self.wal:.0f} B"


def plain_allocate(servers: Servers, shown: ProgressBar, *, repeats: int, count: int) -> Result | None:
    """Compare processor time and WAL of commands in full groups, and the statements of commands that come alone.

    Returns:
        None where the servers are not private programs, or the repository does not have the commit.
    """
    folders = folders_of(servers, shown, WORK)
    if not folders:
        return None
    count_statements(servers)
    alone = in_pairs(servers, shown, COMMIT, _statements, repeats=1)
    pairs = in_pairs(servers, shown, COMMIT, partial(_cost, folders, count, shown), repeats=repeats)
    return _compared(pairs, alone[0]) if pairs and alone else None


def _cost(folders: Sequence[Path], count: int, shown: ProgressBar, side: WorkerSide) -> Cost:
    execute(side.database_url, *(f"ALTER TABLE {it} SET (autovacuum_enabled = off)" for it in TABLES), "CHECKPOINT")
    before = _asked(side, _WAL)
    used = used_by(side, folders, count, shown.counting(f"{WORK}: {side.name}"))
    return Cost(used, (_asked(side, _WAL) - before) / count)


def _statements(side: WorkerSide) -> float:
    """Return the statements for each command that comes once the one before is answered."""
    load = workloads.allocates(ALONE, skus=1000)
    side.seed(load.stock)
    execute(side.database_url, "CREATE EXTENSION pg_stat_statements", "SELECT pg_stat_statements_reset()")
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
        with side.running():
            side.wait_until_consuming()
            for number, order in enumerate(load.orders, 1):
                watch.send([order])
                while watch.depth(SUBSCRIBER) < number:
                    time.sleep(LOOK_EVERY)
    return _asked(side, _STATEMENTS) / ALONE


def _asked(side: WorkerSide, statement: str) -> float:
    with closing(psycopg2.connect(plain(side.database_url))) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        [(value,)] = cursor.fetchall()
        return float(value)


def _compared(pairs: Sequence[tuple[Cost, Cost]], alone: tuple[float, float]) -> Result:
    ratios = [sum(now.processor_time) / sum(before.processor_time) for before, now in pairs]
    ratio = statistics.median(ratios)
    wal = statistics.median(now.wal / before.wal for before, now in pairs)
    earlier, worker = ([cost.processor_time for cost in costs] for costs in zip(*pairs, strict=True))
    return Result(
        work=WORK,
        goal=f"<= {GOAL} of commit {COMMIT}",
        found=f"processor time {ratio:.3f} ({median_of(worker)}; before {median_of(earlier)}), WAL {wal:.3f}, "
        f"statements of a command that comes alone {alone[1] / alone[0]:.3f} "
        f"({alone[1]:.1f}, before {alone[0]:.1f})",
        met=max(ratio, wal, alone[1] / alone[0]) <= GOAL,
        figures={
            "ratio": ratio,
            "ratios": ratios,
            "goal": GOAL,
            "yardstick_us_a_command": [it._asdict() for it in earlier],
            "worker_us_a_command": [it._asdict() for it in worker],
            "wal_ratio": wal,
            "statements": alone,
        },
    )
