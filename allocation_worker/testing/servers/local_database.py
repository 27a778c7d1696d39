"""Runs the installed database server as a private process.

It listens on the loopback interface only, and writes only to one folder.
"""

import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import psycopg2
from psycopg2.extensions import make_dsn

from allocation_worker.testing.servers.controls import Database
from allocation_worker.testing.servers.programs import Program, ProgramError, find_program, free_port
from allocation_worker.testing.servers.reaper import MARK, processes_of
from allocation_worker.testing.waiting import wait_until

USER = "allocation"
_NONE: Mapping[str, str] = MappingProxyType({})
_GONE_WITHIN = 20.0


class LocalDatabase(Database):
    """PostgreSQL as a private process with its own data folder, durable as in production (fsync is on).

    It runs as the user `postgres` if this process is root, since PostgreSQL refuses to run as root. Call `launch` and
    `wait_until_ready`, or `start`, which does both.

    Args:
        folder: The folder of `private_folder`. The server creates its own inside.
        name: The name of its own folder.
        settings: Further settings, written to its postgresql.conf. A standby has those of its primary.
        primary: A running server. This one becomes its standby, a copy by pg_basebackup. None for a server of its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "postgres",
        settings: Mapping[str, str] = _NONE,
        primary: "LocalDatabase | None" = None,
    ) -> None:
        self.folder = folder / name
        self.port = free_port()
        self.password: str = primary.password if primary else secrets.token_hex(8)
        self._data = self.folder / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        super().__init__(admin_url=f"postgresql+psycopg2://{USER}:{self.password}@127.0.0.1:{self.port}/postgres")
        self._env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", MARK: str(folder)}
        self._make_folder()
        if primary:
            self._copy(primary)
        else:
            self._initialise(settings)
        command = [str(find_program("postgres")), "-D", str(self._data), *self._options()]
        self._program = Program(command, env=self._env, folder=self.folder, user=self._user)

    @property
    def dsn(self) -> str:
        """The address of its database `postgres`, as libpq's connection string."""
        return make_dsn("", host="127.0.0.1", port=self.port, user=USER, password=self.password, dbname="postgres")

    @property
    def running(self) -> bool:
        return self._program.running

    def launch(self) -> None:
        """Start the server and return at once."""
        self._program.launch()

    def wait_until_ready(self) -> None:
        """Wait until the server takes connections."""
        self._program.wait_until(self._answers)

    def start(self) -> None:
        """Start the server, again or for the first time, and wait until it is ready."""
        self.launch()
        self.wait_until_ready()

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and wait for its end: `fast` in an orderly way, `immediate` as a crash would."""
        self._program.end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def kill(self) -> None:
        """End all processes of the server as a power cut would, and wait until they are gone. It may be frozen."""
        # The main process first: it would start the others again.
        self._program.end(signal.SIGKILL)

        def gone() -> bool:
            self._signal_all(signal.SIGKILL)
            return not processes_of(self.folder)

        wait_until(gone, within=_GONE_WITHIN, otherwise=lambda: f"{processes_of(self.folder)} do not end.")

    def freeze(self) -> None:
        """Suspend all processes of the server until `thaw`. Its connections stay open, and it does not answer."""
        self._program.send(signal.SIGSTOP)  # first, so that it starts no others
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the server."""
        self._signal_all(signal.SIGCONT)

    def follow(self, primary: "LocalDatabase") -> None:
        """Make this server, which has ended, a standby of a server that was its standby and was promoted.

        What only this server has is undone by pg_rewind. Call `start` afterwards.

        Raises:
            ProgramError: pg_rewind failed; the text is its output.
        """
        # Before version 16, pg_rewind reads the timeline of its source from the last checkpoint. Without a new one it
        # may say that there is nothing to do, and this server would never follow.
        primary.execute("CHECKPOINT")
        self._run("pg_rewind", "--target-pgdata", str(self._data), "--source-server", primary.dsn, "-R", "--no-sync")

    def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run a statement in the database `postgres`, outside of a transaction, and return its rows."""
        connection = psycopg2.connect(self.dsn)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def _answers(self) -> None:
        psycopg2.connect(self.dsn).close()

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in processes_of(self.folder):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # it has just ended

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",  # a socket's path in a deep temporary folder is too long
            "max_connections": "200",
            "timezone": "UTC",
        }
        return [f"--{name}={value}" for name, value in settings.items()]

    def _make_folder(self) -> None:
        self.folder.mkdir()
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)

    def _initialise(self, settings: Mapping[str, str]) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        password_file.chmod(0o644)
        self._run(
            *("initdb", "-D", str(self._data), "--username", USER, "--no-sync"),
            *("--pwfile", str(password_file), "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _copy(self, primary: "LocalDatabase") -> None:
        self._run(
            *("pg_basebackup", "-D", str(self._data), "--dbname", primary.dsn, "--write-recovery-conf"),
            *("--checkpoint=fast", "--no-sync"),
        )

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603 - the command is ours
            [str(find_program(program)), *arguments],
            env=self._env,
            cwd=self.folder,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ProgramError(f"{program}: {done.stdout}{done.stderr}")
