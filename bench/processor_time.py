"""The processor time of a command, beside the version before the events were stored in pages."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.local import LocalBroker
from allocation_worker.testing.servers.local_database import LocalDatabase
from allocation_worker.testing.servers.reaper import processes_of
from bench import clock, workloads
from bench.earlier import in_pairs
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide, used_cpu_seconds

COMMIT = "27972e8"
GOAL = 0.8
WORK = "processor time a command, all processes and servers together"


class Used(NamedTuple):
    """Processor time of each program: in seconds so far, or in microseconds for each command."""

    consume: float
    relay: float
    postgresql: float
    rabbitmq: float

    def __str__(self) -> str:
        return f"{sum(self):.0f} µs: " + ", ".join(f"{name} {value:.0f}" for name, value in self._asdict().items())


def processor_time(servers: Servers, shown: ProgressBar, *, repeats: int, count: int) -> Result | None:
    """Compare the processor time of a command, from full speed on; the median of some pairs of runs.

    Returns:
        None where the servers are not private programs, or the repository does not have the commit.
    """
    folders = folders_of(servers, shown, WORK)
    if not folders:
        return None
    pairs = in_pairs(
        servers,
        shown,
        COMMIT,
        lambda side: used_by(side, folders, count, shown.counting(f"{WORK}: {side.name}")),
        repeats=repeats,
        relay_logs=("relay is active", "amqp_connected"),
    )
    return _compared(pairs) if pairs else None


def folders_of(servers: Servers, shown: ProgressBar, work: str) -> list[Path]:
    """Return the folders of the database and the broker, by which their processes are found.

    If there are none, say that the work is left out.
    """
    if isinstance(servers.broker, LocalBroker) and isinstance(servers.database, LocalDatabase):
        return [servers.database.folder, servers.broker.folder]
    shown.say(f"{work}: left out, since the servers are not private programs")
    return []


def used_by(side: WorkerSide, folders: Sequence[Path], count: int, told: clock.Told) -> Used:
    """Return the microseconds for each command."""
    load = workloads.allocates(count, skus=1000)
    side.seed(load.stock)
    marks: list[Used] = []

    def used() -> float:
        consume = sum(used_cpu_seconds(process.pid) for process in side.consumers)
        marks.append(Used(consume, used_cpu_seconds(side.relay.pid), *map(_used_by_server, folders)))
        return sum(marks[-1])

    run = clock.run_started(side, load, told, used=used)
    before, after = marks
    return Used(*(1e6 * (now - then) / run.commands for then, now in zip(before, after, strict=True)))


def _used_by_server(folder: Path) -> float:
    """Return the seconds used by all processes of a server, those that have ended included."""
    return sum(used_cpu_seconds(pid, with_ended_children=True) for pid in processes_of(folder))


def _compared(pairs: Sequence[tuple[Used, Used]]) -> Result:
    ratios = [sum(now) / sum(before) for before, now in pairs]
    ratio = statistics.median(ratios)
    earlier, worker = (median_of(runs) for runs in zip(*pairs, strict=True))
    return Result(
        work=WORK,
        goal=f"<= {GOAL} of commit {COMMIT}",
        found=f"{ratio:.2f} ({worker}; commit {COMMIT} {earlier})",
        met=ratio <= GOAL,
        figures={
            "ratio": ratio,
            "ratios": ratios,
            "goal": GOAL,
            "yardstick_us_a_command": [before._asdict() for before, _ in pairs],
            "worker_us_a_command": [now._asdict() for _, now in pairs],
        },
    )


def median_of(runs: Sequence[Used]) -> Used:
    """Return the median of each program."""
    return Used(*map(statistics.median, zip(*runs, strict=True)))
