"""Times the other programs, and the worker beside them, on the same servers."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from psycopg2.extras import execute_values

from allocation_worker.testing.servers import Servers
from bench import clock, workloads
from bench.broker import SUBSCRIBER, Watch
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide, folder_for_logs, plain
from bench.workloads import InitialBatch

_ROOT = Path(__file__).parents[2]
_PYTHON = _ROOT / ".venv/peers/bin/python"
PROGRAMS = {
    "FastStream": "faststream_app",
    "Celery": "celery_app",
    "dramatiq": "dramatiq_app",
    "pika, as in the book": "pika_loop",
}
QUEUE = "orders"
LIMIT = 120.0
_SCHEMA = """
CREATE TABLE products (sku text PRIMARY KEY, version_number integer NOT NULL);
CREATE TABLE batches (
    reference text PRIMARY KEY, sku text NOT NULL REFERENCES products, purchased integer NOT NULL,
    allocated integer NOT NULL CHECK (allocated <= purchased), eta date
);
CREATE INDEX ON batches (sku);
CREATE TABLE order_lines (
    id bigserial PRIMARY KEY, orderid text NOT NULL, sku text NOT NULL, qty integer NOT NULL,
    batchref text NOT NULL REFERENCES batches
);
"""


def peers(servers: Servers, shown: ProgressBar, *, repeats: int, count: int) -> Result:
    """Return the commands per second of each program; the median of some rounds, each with a fresh start for all.

    Args:
        servers: The servers that everything runs on.
        shown: The display of progress.
        repeats: The number of rounds.
        count: The worker's commands per run. The others get a tenth, since they take ten times as long or longer.
    """
    work = "one Allocate, one transaction, one confirmed event"
    load = workloads.allocates(count, skus=1000)
    rates: dict[str, list[float]] = {name: [] for name in ("allocation worker", *PROGRAMS)}
    for _ in range(repeats):
        side = WorkerSide(servers)
        side.seed(load.stock)
        rates["allocation worker"].append(clock.run(side, load, shown.counting(work)).rate)
        servers.database.drop(side.database_url)
        for name, module in PROGRAMS.items():
            rate = _Peer(servers, module).rate(load.stock, count // 10)
            shown.say(f"{work}: {name}: {rate:,.0f} a second")
            rates[name].append(rate)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    return Result(
        work=f"{work}; commands a second",
        found=", ".join(f"{name} {rate:,.0f}" for name, rate in medians.items()),
        figures={"peers": medians, "rates": rates},
    )


class _Peer:
    """One program, with a virtual host and a database of its own."""

    def __init__(self, servers: Servers, module: str) -> None:
        self._servers = servers
        self._amqp_url = servers.broker.new_vhost()
        self._database_url = servers.database.new_database()
        self._module = f"bench.peers.{module}"
        self._log = folder_for_logs() / f"{module}.log"

    def rate(self, stock: Sequence[InitialBatch], count: int) -> float:
        """Return the commands per second, from the first that leaves the queue to the last event.

        Raises:
            AssertionError: An order has no event, or two.
            TimeoutError: The events do not come.
        """
        self._fill_database(stock)
        with Watch(self._amqp_url) as watch:
            watch.declare_events_exchange()
            watch.subscribe()
            subprocess.run(self._command("fill", str(count)), env=self._environment(), cwd=_ROOT, check=True)
            with self._running() as process:
                started = _wait(process, lambda: watch.depth(QUEUE) < count)
                ended = _wait(process, lambda: watch.depth(SUBSCRIBER) >= count)
            orders = [event["orderid"] for _, event in watch.take()]
        if sorted(orders) != sorted(f"order-{number}" for number in range(count)):
            raise AssertionError(f"{self._module}: {count} orders, {len(orders)} events of {len(set(orders))} orders.")
        self._servers.database.drop(self._database_url)
        return count / (ended - started)

    def _fill_database(self, stock: Sequence[InitialBatch]) -> None:
        with (
            closing(psycopg2.connect(plain(self._database_url))) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(_SCHEMA)
            execute_values(cursor, "INSERT INTO products VALUES %s", [(sku, 0) for sku in {it.sku for it in stock}])
            execute_values(
                cursor,
                "INSERT INTO batches VALUES %s",
                [(it.reference, it.sku, it.qty, 0, it.eta) for it in stock],
            )
            cursor.execute("ANALYZE")

    @contextmanager
    def _running(self) -> Iterator[subprocess.Popen[bytes]]:
        # A session of its own: Celery and dramatiq start further processes, which end with it.
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self._command("run"), env=self._environment(), cwd=_ROOT, stdout=log, stderr=log, start_new_session=True
            )
            try:
                yield process
            finally:
                os.killpg(process.pid, 9)
                process.wait()

    def _command(self, *arguments: str) -> list[str]:
        return [str(_PYTHON), "-m", self._module, *arguments]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PEER_AMQP_URL": self._amqp_url, "PEER_DATABASE_URL": self._database_url}


def _wait(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> float:
    """Return the moment when the condition holds.

    Raises:
        TimeoutError: It does not hold in time, or the process has ended.
    """
    deadline = time.perf_counter() + LIMIT
    while not condition():
        if process.poll() is not None or time.perf_counter() > deadline:
            raise TimeoutError(f"Not within {LIMIT:.0f} s; see the newest log in bench/results/logs.")
        time.sleep(clock.EVERY)
    return time.perf_counter()
