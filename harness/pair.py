"""A pair of PostgreSQL servers with synchronous replication: a primary, and a standby that is to replace it."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Literal

import psycopg2
import psycopg2.extensions
from sqlalchemy import URL

from allocation_worker.testing.servers.controls import Database
from allocation_worker.testing.servers.local_database import USER, LocalDatabase
from allocation_worker.testing.waiting import wait_until

_WITHIN = 60.0
_COMMIT_WITHIN = 20.0
_SETTINGS = {
    "synchronous_standby_names": "*",
    "synchronous_commit": "on",
    # A standby that was away for long, or pg_rewind, still finds what it needs.
    "wal_keep_size": "512MB",
    "wal_log_hints": "on",  # pg_rewind needs it
    "wal_retrieve_retry_interval": "200ms",
}

_IN_SYNC = "SELECT pid FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'"
_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE %s"
_BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
    "AND application_name LIKE %s"
)


class Pair(Database):
    """Both servers as one database server, whose address names both of them.

    Every commit on the primary waits until the standby has it on disk. While the standby is away, commits wait.

    After `promote`, the former primary is the standby here, although it may not know it yet, until `rejoin`.

    Args:
        folder: The folder of `private_folder`.
        other_folder: A folder for the second server, such as another disk. By default, that of the first.

    Attributes:
        primary: The server that decides.
        standby: The other one.
    """

    def __init__(self, folder: Path, other_folder: Path | None = None) -> None:
        self.primary = LocalDatabase(folder, name="postgres-1", settings=_SETTINGS)
        self.primary.start()
        self.standby = LocalDatabase(other_folder or folder, name="postgres-2", primary=self.primary)
        # One order for the life of the pair: after a failover, the first address is that of the standby.
        self.servers = (self.primary, self.standby)
        ports = ",".join(str(server.port) for server in self.servers)
        url = URL.create(
            "postgresql+psycopg2",
            username=USER,
            password=self.primary.password,
            database="postgres",
            query={"host": "127.0.0.1,127.0.0.1", "port": ports, "target_session_attrs": "read-write"},
        )
        super().__init__(admin_url=url.render_as_string(hide_password=False))

    def start(self) -> None:
        """Start the servers that do not run, and wait until each commit waits for the standby."""
        for server in (self.primary, self.standby):
            if not server.running:
                server.launch()
        self.primary.wait_until_ready()
        self.standby.wait_until_ready()
        self.wait_for_standby()

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop both servers, the primary first. They may be frozen."""
        for server in (self.primary, self.standby):
            server.thaw()
            server.stop(mode)

    def wait_for_standby(self) -> None:
        """Wait until the standby has everything, and each commit waits for it."""
        wait_until(
            lambda: bool(self.primary.execute(_IN_SYNC)),
            within=_WITHIN,
            every=0.05,
            otherwise=lambda: f"The standby does not follow: {self.primary.execute('TABLE pg_stat_replication')}",
        )

    @contextmanager
    def standby_away(self) -> Iterator[None]:
        """Stop the standby. At the end of the block, start it again and wait for it, unless it was promoted."""
        away = self.standby
        away.stop()
        try:
            yield
        finally:
            if self.standby is away:
                self.start()

    def promote(self) -> None:
        """Make the standby the primary. It is started first if it was away.

        The caller sees to it that the former primary is dead, frozen or read-only.
        """
        if not self.standby.running:
            self.standby.start()
        self.standby.execute("SELECT pg_promote()")
        self.primary, self.standby = self.standby, self.primary

    def fail_over(self) -> None:
        """Kill the primary and promote the standby. Commits wait until `rejoin`."""
        self.primary.kill()
        self.promote()

    def switch_over(self) -> None:
        """Promote the standby as planned. The former primary is read-only, and keeps its sessions until `rejoin`."""
        former = self.primary
        former.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        former.execute("SELECT pg_reload_conf()")
        wait_until(
            lambda: former.execute("SHOW transaction_read_only") == [("on",)],
            within=_WITHIN,
            otherwise=lambda: "The primary does not become read-only.",
        )
        [(last,)] = former.execute("SELECT pg_current_wal_lsn()")
        wait_until(
            lambda: self.standby.execute("SELECT pg_last_wal_replay_lsn() >= %s", last) == [(True,)],
            within=_WITHIN,
            otherwise=lambda: f"The standby does not reach {last}.",
        )
        self.promote()

    def decide_alone(self) -> None:
        """Let the primary commit without a standby until `rejoin`, as Patroni does unless it is told to be strict."""
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.primary.execute("SELECT pg_reload_conf()")

    def rejoin(self) -> None:
        """Make the former primary, dead or read-only, the standby, and wait until each commit waits for it."""
        self.primary.execute("ALTER SYSTEM RESET synchronous_standby_names")
        self.primary.execute("SELECT pg_reload_conf()")
        if self.standby.running:
            self.standby.execute("ALTER SYSTEM RESET default_transaction_read_only")
            self.standby.stop()
        self.standby.follow(self.primary)
        self.start()

    def waiting_commits(self, application: str = "%") -> list[int]:
        """Return the backends on the primary whose commit waits for the standby.

        Args:
            application: A pattern of LIKE for the application's name.
        """
        return [int(str(pid)) for (pid,) in self.primary.execute(_WAITING, application)]

    def wait_for_commit(self, application: str = "%") -> int:
        """Wait until a commit waits for the standby. Return its backend's process id.

        Raises:
            TimeoutError: No commit of this application waits.
        """
        waiting: list[int] = []

        def one_waits() -> bool:
            waiting[:] = self.waiting_commits(application)
            return bool(waiting)

        wait_until(
            one_waits,
            within=_COMMIT_WITHIN,
            every=0.05,
            otherwise=lambda: f"No commit of {application} waits for the standby.",
        )
        return waiting[0]

    def cancel_commit(self, application: str = "%") -> int:
        """Cancel one commit that waits for the standby, as an operator would. Return its backend's process id.

        Raises:
            TimeoutError: No commit of this application waits.
        """
        waiting = self.wait_for_commit(application)
        self.primary.execute("SELECT pg_cancel_backend(%s)", waiting)
        return waiting

    def kill_backend(self, application: str = "%") -> None:
        """Kill one backend of the primary, which then ends all others and recovers from its log. Wait for that.

        Raises:
            TimeoutError: The primary has no backend of this application.
        """
        found: list[int] = []

        def one_runs() -> bool:
            found[:] = [int(str(pid)) for (pid,) in self.primary.execute(_BACKENDS, application)]
            return bool(found)

        wait_until(one_runs, within=_COMMIT_WITHIN, every=0.05, otherwise=lambda: f"{application} is not connected.")
        with closing(psycopg2.connect(self.primary.dsn)) as witness:
            os.kill(found[0], signal.SIGKILL)
            wait_until(
                lambda: not _is_open(witness), within=_WITHIN, otherwise=lambda: "The primary ignores that it crashed."
            )
        self.primary.wait_until_ready()


def _is_open(connection: psycopg2.extensions.connection) -> bool:
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error:
        return False
    return True


@contextmanager
def pair(folder: Path, other_folder: Path | None = None) -> Iterator[Pair]:
    """Start a pair in this folder. Stop it at the end of the block.

    Raises:
        ProgramError: A program is missing, or a server did not start.
    """
    with ExitStack() as stack:
        database = Pair(folder, other_folder)
        stack.callback(database.stop, "immediate")
        database.start()
        yield database
