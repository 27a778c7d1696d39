"""The environment of a campaign: a broker cluster, a pair of databases on small disks, Redis, and the processes."""

import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog

from allocation_worker.testing.servers.programs import ProgramError, private_folder
from allocation_worker.testing.servers.redis_server import LocalRedis, local_redis
from harness.cluster import Cluster, cluster
from harness.pair import Pair, pair
from harness.processes import WorkerProcess, run_verb

CONSUMERS = ("consume-1", "consume-2", "consume-3")
RELAYS = ("relay-1", "relay-2")
PROJECTORS = ("project-1", "project-2")
DISK_MEGABYTES = 4096

log = structlog.get_logger()


class Supervisor:
    """Restarts processes that have ended, as systemd or Kubernetes would.

    Args:
        settings: The environment variables of all processes.
        folder: The folder for their logs.
    """

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._processes: dict[str, WorkerProcess] = {}
        self._expected: set[int] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self.deaths: list[str] = []
        """Processes that ended unexpectedly, with the end of their logs."""

    @contextmanager
    def running(self, *names: str) -> Iterator[None]:
        """Start these processes, such as `consume-1`. Kill all of them at the end of the block."""
        for name in names:
            self._start(name)
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()
            for process in self._processes.values():
                process.kill()

    def get(self, name: str) -> WorkerProcess:
        """Return the process of this name, to inject a fault. From now on its end counts as expected."""
        with self._lock:
            process = self._processes[name]
            self._expected.add(process.pid)
            return process

    def _start(self, name: str) -> None:
        verb = name.partition("-")[0]
        self._processes[name] = WorkerProcess(verb, settings=self._settings, log=self._folder / f"{name}.log")

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            with self._lock:
                for name, process in list(self._processes.items()):
                    if process.exit_code is None:
                        continue
                    if process.pid not in self._expected:
                        self.deaths.append(f"{name} ended with {process.exit_code}: {process.log[-500:]}")
                    process.wait()
                    self._start(name)


class Sandbox:
    """The servers and the processes.

    Attributes:
        cluster: The broker, a cluster of three nodes.
        database: The pair of database servers, each on a disk of its own of DISK_MEGABYTES.
        amqp_urls: The addresses of the campaign's virtual host, one per node.
        database_url: The address of the campaign's database, which names both servers.
        redis: The Redis of the read model, which keeps nothing on disk.
        processes: The service's processes.
    """

    def __init__(self, servers: Cluster, database: Pair, redis: LocalRedis, logs: Path) -> None:
        self.cluster = servers
        self.redis = redis
        self.database = database
        self.amqp_urls = servers.new_vhost().split(",")
        self.database_url = database.new_database()
        self.redis_url = redis.new_database()
        self.settings = {
            "ALLOCATION_AMQP_URL": ",".join(self.amqp_urls),
            "ALLOCATION_DATABASE_URL": self.database_url,
            "ALLOCATION_REDIS_URL": self.redis_url,
        }
        self.processes = Supervisor(self.settings, logs)

    def prepare(self) -> None:
        """Migrate the database and declare the topology.

        Raises:
            ProgramError: A verb failed.
        """
        for verb in ("migrate", "topology"):
            done = run_verb(verb, settings=self.settings)
            if done.returncode:
                raise ProgramError(f"allocation-worker {verb}: {done.stderr}")
        self.cluster.save_queue_names()


@contextmanager
def start_sandbox(logs: Path) -> Iterator[Sandbox]:
    """Start the servers, without the service's processes. Stop and remove everything at the end of the block.

    Raises:
        ProgramError: A program is missing, or did not start.
    """
    with private_folder() as folder, ExitStack() as stack:
        servers = stack.enter_context(cluster(folder))
        disks = [stack.enter_context(_small_disk(folder / name)) for name in ("disk-1", "disk-2")]
        database = stack.enter_context(pair(*disks))
        yield Sandbox(servers, database, stack.enter_context(local_redis()), logs)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    size = f"size={DISK_MEGABYTES}m,mode=711"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "allocation-chaos", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ProgramError(f"A small disk cannot be mounted ({done.stderr.strip()}); run as root.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
