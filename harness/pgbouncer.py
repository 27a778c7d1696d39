"""PgBouncer, a connection pooler, as a private process in front of a database server."""

import os
import pwd
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import psycopg2
from sqlalchemy import make_url

from allocation_worker.testing.servers.programs import (
    Program,
    ProgramError,
    free_port,
    private_folder,
)
from allocation_worker.testing.servers.reaper import MARK
from harness.processes import WorkerProcess

NOT_ONE_SESSION = "The connection pooler in front of the database does not keep one session for each client"
"""How the error of a program begins whose pooler shares sessions."""

_NONE: Mapping[str, str] = MappingProxyType({})


class PgBouncer:
    """A pooler for all databases of one server.

    Args:
        folder: The folder of `private_folder`.
        target: The address of a database of the server, with user and password.
        settings: Settings of its section `[pgbouncer]`, such as `pool_mode`.

    Raises:
        ProgramError: The program is missing.
    """

    def __init__(self, folder: Path, target: str, settings: Mapping[str, str] = _NONE) -> None:
        # Debian's folder is not on every user's PATH.
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if program is None:
            raise ProgramError("the program pgbouncer is missing")
        self.folder = folder / "pgbouncer"
        self.folder.mkdir()
        self._port = free_port()
        self._target = make_url(target)
        self._settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self._port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(self.folder / "users.txt"),
            "admin_users": str(self._target.username),
            "default_pool_size": "20",
            "max_client_conn": "200",
            "server_login_retry": "1",  # as often as a test may stop the server
            "client_tls_sslmode": "disable",
            **settings,
        }
        (self.folder / "users.txt").write_text(f'"{self._target.username}" "{self._target.password}"\n')
        # It refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        self._write()
        if self._user:
            owner = pwd.getpwnam(self._user)
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", MARK: str(folder)}
        command = [program, str(self.folder / "pgbouncer.ini")]
        self._program = Program(command, env=env, folder=self.folder, user=self._user)

    def through(self, database_url: str) -> str:
        """Return the address of a database of the server through this pooler."""
        return make_url(database_url).set(host="127.0.0.1", port=self._port).render_as_string(hide_password=False)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._program.launch()
        self._program.wait_until(partial(self._ask, "SHOW VERSION"))

    def stop(self) -> None:
        """End it at once, with all connections, and wait for its end."""
        # From 1.23 on it waits for its clients after SIGTERM, and ours stay.
        self._program.end(signal.SIGQUIT)

    def change(self, settings: Mapping[str, str]) -> None:
        """Change settings, as an operator does. Connections stay, and have the new pool_mode at once."""
        self._settings.update(settings)
        self._write()
        self._ask("RELOAD")

    def _write(self) -> None:
        lines = [f"{name} = {value}" for name, value in self._settings.items()]
        target = f"* = host={self._target.host} port={self._target.port}"
        (self.folder / "pgbouncer.ini").write_text("\n".join(["[databases]", target, "[pgbouncer]", *lines, ""]))

    def _ask(self, command: str) -> None:
        url = self._target
        connection = psycopg2.connect(
            host="127.0.0.1", port=self._port, user=url.username, password=url.password, dbname="pgbouncer"
        )
        with closing(connection):
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(command)


def one_noticed_sharing(relays: Iterable[WorkerProcess]) -> bool:
    """Return whether one of these relays has logged that its session is shared.

    The other one may get the same session each time. What a relay does beside publishing, and names as its task, does
    not count: it begins a session of its own each time.
    """
    lines = [line for relay in relays for line in relay.events if "task" not in line]
    return any(NOT_ONE_SESSION in line.get("error", "") for line in lines)


@contextmanager
def pgbouncer(target: str, **settings: str) -> Iterator[PgBouncer]:
    """Start a pooler in front of a server. Stop and remove it at the end of the block."""
    with private_folder() as folder:
        pooler = PgBouncer(folder, target, settings)
        try:
            pooler.start()
            yield pooler
        finally:
            pooler.stop()
