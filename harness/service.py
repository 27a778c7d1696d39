"""The whole service on real servers, with its own virtual host, database and processes."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from allocation_contracts import DEAD_LETTERS
from allocation_worker.adapters.rabbitmq.urls import connect_any
from allocation_worker.bootstrap import migrate, topology
from allocation_worker.config import PREFIX, load
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from harness.checker.events import Report, check
from harness.checker.tables import check_tables, count_unpublished
from harness.client import ExternalClient
from harness.processes import WorkerProcess


class RunningService:
    """A new virtual host with the topology, and a new database with the schema. `start` starts processes on them.

    Args:
        servers: The servers to use.
        folder: The folder for the logs of the processes.
        settings: Environment variables for every process, besides the two addresses.
    """

    def __init__(self, servers: Servers, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.servers = servers
        self.amqp_url = servers.broker.new_vhost()
        self.database_url = servers.database.new_database()
        self.settings = {
            "ALLOCATION_AMQP_URL": self.amqp_url,
            "ALLOCATION_DATABASE_URL": self.database_url,
            **(settings or {}),
        }
        self.processes: list[WorkerProcess] = []
        self._folder = folder

    def __enter__(self) -> Self:
        # Do the work of `migrate` and `topology` here, to save a second of imports for each.
        settings = load(**{name.removeprefix(PREFIX).lower(): value for name, value in self.settings.items()})
        migrate.migrate(settings)
        topology.declare_topology(settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.kill()

    def start(
        self,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
        crash: tuple[str, int | str] | None = None,
        log: Path | None = None,
    ) -> WorkerProcess:
        """Start a process, such as `start("consume")`; `crash` and `log` are as for WorkerProcess."""
        log = log or self._folder / f"{len(self.processes)}-{arguments[0]}.log"
        process = WorkerProcess(*arguments, settings={**self.settings, **(settings or {})}, log=log, crash=crash)
        self.processes.append(process)
        return process

    def start_relays(self, settings: Mapping[str, str] | None = None) -> tuple[WorkerProcess, WorkerProcess]:
        """Start two relays. Return the active one and the one that stands by, once they are."""
        active = self.start("relay", settings=settings)
        active.wait_for("ready", role="active")
        standby = self.start("relay", settings=settings)
        standby.wait_for("ready", role="standby")
        return active, standby

    def client(self) -> ExternalClient:
        """Return an external client. Use it in a `with` block."""
        return ExternalClient(self.amqp_url)

    def judge(self, client: ExternalClient, *, dead: Collection[str] = frozenset()) -> Report:
        """Wait until the service is idle, then check the client's commands and events, and the tables.

        Raises:
            TimeoutError: The service is not idle after a minute.
        """
        wait_until(
            lambda: not self._under_way(),
            within=60,
            every=0.2,
            otherwise=lambda: f"Still under way: {self._under_way()}\n{self.logs()}",
        )
        client.catch_up()
        report = check(client.sent, client.received, dead=dead)
        check_tables(report, self.database_url)
        return report

    def _under_way(self) -> dict[str, int]:
        waiting = {"outbox": count_unpublished(self.database_url), **self.servers.broker.queue_depths(self.amqp_url)}
        return {name: count for name, count in waiting.items() if count and name != DEAD_LETTERS}

    def count_dead_letters(self) -> int:
        """Return the number of dead letters, once no reader holds any.

        The dead letters of a reader that has ended return to the queue when the broker notices its end.
        """
        with connect_any([self.amqp_url]) as connection:
            channel = connection.channel()
            wait_until(
                lambda: not channel.queue_declare(DEAD_LETTERS, passive=True).method.consumer_count,
                within=10,
                otherwise=lambda: "Somebody goes on reading the dead letters.",
            )
            return int(channel.queue_declare(DEAD_LETTERS, passive=True).method.message_count)

    def logs(self) -> str:
        """Return the logs of all processes."""
        return "\n".join(process.log for process in self.processes)
