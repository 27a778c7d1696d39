"""Profiles the first benchmark: py-spy on `consume` and `relay`, pg_stat_statements in the database."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from rich.console import Console
from rich.table import Table

from allocation_worker.testing.servers import Servers, start_servers
from bench import clock
from bench.broker import Watch, fill
from bench.sides import WorkerSide, execute, plain, used_cpu_seconds
from bench.workloads import allocates

COMMANDS = 60_000
SAMPLES_A_SECOND = 250
TOP = 25
WAITING = (
    "poll (pika",
    "PollPoller.poll (",
    "wait (",
    "Condition.wait (",
    "PendingEvents.wait (",
    "Consumer.run (",
    "_watch (",
)
"""Where a thread sleeps because it has nothing to do. `do_execute` and `do_commit` wait for the database, and count."""

STATEMENTS = """
    SELECT round(total_exec_time::numeric, 1), calls, round((total_exec_time / calls)::numeric, 3), rows,
        wal_bytes::bigint / 1024, left(regexp_replace(query, '\\s+', ' ', 'g'), 90)
    FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY total_exec_time DESC LIMIT 20
"""


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples of one process: by function, alone and with all that it calls; by thread."""

    total: int
    own: Mapping[str, int]
    cumulative: Mapping[str, int]
    threads: Mapping[str, int]


def profile(results: Path) -> None:
    """Run it and print what was found; the raw stacks are kept for a flame graph."""
    console = Console(width=160)
    results.mkdir(parents=True, exist_ok=True)
    with start_servers() as servers:
        counted = count_statements(servers)
        side = WorkerSide(servers)
        workload = allocates(COMMANDS, skus=1000)
        side.seed(workload.stock)
        fill(side.amqp_url, workload.orders, COMMANDS)
        with Watch(side.amqp_url) as watch, ExitStack() as stack:
            watch.subscribe()
            stack.enter_context(side.running())
            side.wait_for_consumers()
            processes = {"consume": side.consumers[0].pid, "relay": side.relay.pid}
            begun = time.perf_counter()
            for name, pid in processes.items():
                stack.enter_context(_recorded(pid, results / f"profile-{name}.txt"))
            last, _ = clock.wait_for_last(watch, workload, lambda _done, _of: None)
            console.print(f"{COMMANDS} commands, {last - begun:.1f} s, profiled from start to end.")
            for name, pid in processes.items():
                console.print(f"{name}: {used_cpu_seconds(pid):.2f} s of CPU time")
        for name in processes:
            _show(console, name, _read(results / f"profile-{name}.txt"))
        if counted:
            _show_statements(console, side.database_url)


def count_statements(servers: Servers) -> bool:
    """Load pg_stat_statements, which takes a restart; False where the server is not ours to restart."""
    if servers.how != "programs":
        return False
    execute(servers.database.admin_url, "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    servers.database.stop()
    servers.database.start()
    return True


@contextmanager
def _recorded(pid: int, file: Path) -> Iterator[None]:
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--format", "raw"]
    command += ["--output", str(file), "--rate", str(SAMPLES_A_SECOND), "--threads", "--duration", "unlimited"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _read(file: Path) -> Profile:
    own, cumulative, threads = Counter[str](), Counter[str](), Counter[str]()
    total = 0
    for line in file.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        functions = [_without_line(frame) for frame in frames]
        if functions and functions[-1].startswith(WAITING):
            continue
        total += int(count)
        threads[thread] += int(count)
        own[functions[-1] if functions else thread] += int(count)
        cumulative.update(dict.fromkeys(functions, int(count)))
    return Profile(total, own, cumulative, threads)


def _without_line(frame: str) -> str:
    """`publish (pika/channel.py:393)` without the number."""
    name, _, place = frame.partition(" (")
    path = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    return f"{name} ({path.rpartition('site-packages/')[2]})"


def _show(console: Console, name: str, found: Profile) -> None:
    for title, counts in (("alone", found.own), ("with all that it calls", found.cumulative)):
        table = Table(title=f"{name}: {title}, of {found.total} samples", title_justify="left")
        table.add_column("%", justify="right")
        table.add_column("function")
        for function, count in Counter(counts).most_common(TOP if counts is found.own else TOP * 2):
            table.add_row(f"{100 * count / found.total:.1f}", function)
        console.print(table)
    shares = ", ".join(f"{thread} {100 * n / found.total:.0f}%" for thread, n in found.threads.items())
    console.print(f"{name}, by thread: {shares}")


def _show_statements(console: Console, database_url: str) -> None:
    table = Table(title="Statements, by the time they took in the server", title_justify="left")
    for column in ("total ms", "calls", "ms a call", "rows", "WAL kB", "statement"):
        table.add_column(column, justify="left" if column == "statement" else "right")
    with closing(psycopg2.connect(plain(database_url))) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        cursor.execute(STATEMENTS)
        for row in cursor.fetchall():
            table.add_row(*map(str, row))
    console.print(table)
