"""The whole service on real servers: a place of its own on each, and its processes."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from allocation_worker.testing.outside import Outside
from allocation_worker.testing.processes import WorkerProcess, run_verb
from allocation_worker.testing.servers import Servers


class RunningService:
    """A fresh virtual host and a fresh database, migrated and declared; processes as they are asked for.

    Args:
        servers: where to make room.
        folder: for the logs of the processes.
        settings: environment variables for every process, on top of the two addresses.
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
        for verb in ("migrate", "topology"):
            done = run_verb(verb, settings=self.settings)
            if done.returncode:
                raise RuntimeError(f"allocation-worker {verb} ended with {done.returncode}: {done.stderr}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.kill()

    def start(
        self, *arguments: str, settings: Mapping[str, str] | None = None, crash: tuple[str, int] | None = None
    ) -> WorkerProcess:
        """Start a process, such as `start("consume")`; `crash` is as for WorkerProcess."""
        log = self._folder / f"{len(self.processes)}-{arguments[0]}.log"
        process = WorkerProcess(*arguments, settings={**self.settings, **(settings or {})}, log=log, crash=crash)
        self.processes.append(process)
        return process

    def outside(self) -> Outside:
        """A program of another team, to be entered with `with`."""
        return Outside(self.amqp_url)

    def logs(self) -> str:
        """What all processes have logged."""
        return "\n".join(process.log for process in self.processes)
