"""The two programs that are compared. Each has its own virtual host and database, on the same servers."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

import psycopg2
from sqlalchemy import make_url

from allocation_contracts import ORDERS_QUEUE
from allocation_worker.config import Settings
from allocation_worker.testing.servers import Servers
from bench import bare_loop, seeds
from bench.workloads import InitialBatch
from harness.processes import WorkerProcess, ended, run_verb
from harness.service import RunningService

LOGS = Path(__file__).parent / "results" / "logs"
FULL_PREFETCH: int = Settings.model_fields["prefetch"].default


class Side(Protocol):
    """One of the two programs, with its virtual host and database."""

    name: str
    amqp_url: str
    database_url: str

    def seed(self, stock: Sequence[InitialBatch]) -> None:
        """Put batches in, as if they had been created long ago."""

    def running(self) -> AbstractContextManager[None]:
        """Its processes, up to the moment when commands are taken."""

    def cpu_seconds(self) -> float:
        """Processor time that its processes have used since they were started; only while they run."""


def plain(url: str) -> str:
    """A database's address for psycopg2 itself."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def execute(database_url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with closing(psycopg2.connect(plain(database_url))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def used_cpu_seconds(pid: int, *, with_ended_children: bool = False) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_ended_children else 13])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """The most resident memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) / 1024


def folder_for_logs() -> Path:
    """Return a new folder for each run, since logs are searched for events and must not hold those of earlier runs."""
    LOGS.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{time.strftime('%H%M%S')}-", dir=LOGS))


class BareSide:
    """The bare loop."""

    name = "bare loop"

    def __init__(self, servers: Servers) -> None:
        self.amqp_url = servers.broker.new_vhost()
        self.database_url = servers.database.new_database()
        self._log = folder_for_logs() / "bare-loop.log"
        execute(self.database_url, bare_loop.SCHEMA)
        done = run_verb("topology", settings={"ALLOCATION_AMQP_URL": self.amqp_url})
        done.check_returncode()

    def seed(self, stock: Sequence[InitialBatch]) -> None:
        seeds.bare(plain(self.database_url), stock)

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [sys.executable, "-m", "bench.bare_loop", self.amqp_url, plain(self.database_url)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                yield
            finally:
                self._process.kill()
                self._process.wait()

    def cpu_seconds(self) -> float:
        return used_cpu_seconds(self._process.pid)


class WorkerSide:
    """The worker, with `consume` and `relay` as separate processes."""

    name = "worker"

    def __init__(self, servers: Servers, *, consumers: int = 1) -> None:
        service = RunningService(servers, folder_for_logs())
        self.amqp_url, self.database_url, self.settings = service.amqp_url, service.database_url, service.settings
        self._prepare(service)
        self.relay: WorkerProcess
        self.consumers: list[WorkerProcess] = []
        self._count = consumers

    def seed(self, stock: Sequence[InitialBatch]) -> None:
        seeds.worker(plain(self.database_url), stock)

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start_relay()
        with ended(self.relay):
            self.start_consumers()
            with ended(*self.consumers):
                yield

    def cpu_seconds(self) -> float:
        return sum(used_cpu_seconds(process.pid) for process in (self.relay, *self.consumers))

    def start_relay(self) -> None:
        """Up, connected and the active one."""
        self.relay = self._start("relay")
        self.relay.wait_for("ready", role="active")
        self.relay.wait_for("amqp_connected")

    def start_consumers(self) -> None:
        """On their way up."""
        self.consumers = [self._start("consume") for _ in range(self._count)]

    def wait_until_consuming(self) -> None:
        """Until each takes commands."""
        for consumer in self.consumers:
            consumer.wait_for("consuming", queue=ORDERS_QUEUE)

    def wait_for_consumers(self) -> None:
        """Until each takes commands at full speed."""
        for consumer in self.consumers:
            consumer.wait_for("consuming", queue=ORDERS_QUEUE, prefetch=FULL_PREFETCH)

    def _prepare(self, service: RunningService) -> None:
        """Make the tables and the queues."""
        with service:
            pass

    def _start(self, verb: str) -> WorkerProcess:
        return WorkerProcess(verb, settings=self.settings, log=folder_for_logs() / f"{verb}.log")


class EarlierSide(WorkerSide):
    """The worker as it was at an earlier commit.

    Args:
        servers: The servers.
        commit: The commit.
        version: What `unpack_version` has returned for that commit.
        relay_logs: What its relay logs once it is the active one and connected.
    """

    def __init__(self, servers: Servers, commit: str, version: Mapping[str, str], relay_logs: tuple[str, str]) -> None:
        self.name = f"commit {commit}"
        self._version = version
        self._relay_logs = relay_logs
        super().__init__(servers)

    def start_relay(self) -> None:
        self.relay = self._start("relay")
        for event in self._relay_logs:
            self.relay.wait_for(event)

    def _prepare(self, service: RunningService) -> None:
        self.settings = {**service.settings, **self._version}
        for verb in ("migrate", "topology"):
            run_verb(verb, settings=self.settings).check_returncode()
