"""A Patroni cluster of three PostgreSQL nodes with etcd, private processes with addresses in the loopback network.

Patroni is installed by `make test-ha` into a folder of its own, from `harness/requirements-patroni.lock`.
"""

import http.client
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg2
from sqlalchemy import URL, make_url

from allocation_worker.testing.servers.controls import Database
from allocation_worker.testing.servers.programs import Program, ProgramError, find_program, free_port
from allocation_worker.testing.servers.reaper import MARK, processes_of
from allocation_worker.testing.waiting import wait_until
from harness.etcd import Etcd
from harness.packet_filter import PacketFilter

INSTALLED: Final = Path(__file__).parents[1] / ".patroni"
"""The folder into which `make test-ha` installs Patroni."""

TTL: Final = 20
"""The time after which a leader that is not heard of is replaced, in seconds. It is the shortest that Patroni takes."""

# PostgreSQL's user may not be able to run the interpreter of the project.
_PYTHON = Path("/usr/bin/python3")
_USER = "allocation"
_NODES = ("node-1", "node-2", "node-3")
_WITHIN = 180.0
_TIMEOUT = 5.0
_POSTGRES = "postgres"

# What docs/howto/high-availability.md recommends, without the watchdog, which needs a device.
_CLUSTER_SETTINGS: Final[Mapping[str, Any]] = {
    "ttl": TTL,
    "loop_wait": 5,
    "retry_timeout": 5,
    "synchronous_mode": "quorum",
    "synchronous_mode_strict": True,
    "synchronous_node_count": 1,
    "failsafe_mode": True,
    "postgresql": {
        "use_pg_rewind": True,
        "use_slots": True,
        "parameters": {"synchronous_commit": "on", "max_connections": 100, "wal_keep_size": "512MB"},
    },
}


class PatroniNode:
    """One machine of the cluster: a Patroni, and the PostgreSQL that it runs.

    Args:
        folder: The folder of `private_folder`. The node creates its own inside.
        name: The name of the node.
        address: The address of the machine, in the loopback network.
        settings: The settings that all nodes share.
    """

    def __init__(self, folder: Path, name: str, address: str, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.address = address
        self.port = free_port()
        self.folder = folder / name
        self._api_port = free_port()
        self.folder.mkdir()
        self.config = self.folder / "patroni.json"
        self.config.write_text(json.dumps({**settings, **self._own_settings(settings)}))
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(folder / "patroni"),
            MARK: str(folder),
        }
        command = [str(_PYTHON), "-m", "patroni", str(self.config)]
        user = _POSTGRES if os.geteuid() == 0 else None
        if user:
            owner = pwd.getpwnam(user)
            for path in (self.folder, self.config):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._program = Program(command, env=env, folder=self.folder, user=user)

    def launch(self) -> None:
        """Start Patroni, which starts PostgreSQL, and return at once."""
        self._program.launch()

    def kill(self) -> None:
        """Kill all processes of the machine, as a power cut would. Its kernel still closes the connections."""
        self._kill(lambda _: True)
        self._program.end(signal.SIGKILL)

    def kill_postgres(self) -> None:
        """Kill PostgreSQL with all its backends. Patroni goes on."""
        self._kill(_is_postgres)

    def freeze_patroni(self) -> None:
        """Suspend Patroni until `thaw`. PostgreSQL goes on."""
        self._program.send(signal.SIGSTOP)

    def freeze(self) -> None:
        """Suspend all processes of the machine until `thaw`. Its kernel still acknowledges what it receives."""
        for pid in processes_of(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume all processes of the machine."""
        for pid in processes_of(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return an answer of Patroni's REST API.

        Raises:
            OSError: Patroni does not answer.
            http.client.HTTPException: Its answer is cut off.
        """
        with closing(http.client.HTTPConnection(self.address, self._api_port, timeout=_TIMEOUT)) as connection:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())

    def _kill(self, is_meant: Callable[[int], bool]) -> None:
        # A process may fork while the others are killed.
        while pids := [pid for pid in processes_of(self.folder) if is_meant(pid) and not _has_ended(pid)]:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _own_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        postgres = find_program("postgres")
        if postgres is None:
            raise ProgramError("postgres is missing.")
        api = f"{self.address}:{self._api_port}"
        server = f"{self.address}:{self.port}"
        return {
            "name": self.name,
            "restapi": {"listen": api, "connect_address": api},
            "postgresql": {
                **settings["postgresql"],
                "listen": server,
                "connect_address": server,
                "data_dir": str(self.folder / "data"),
                "bin_dir": str(postgres.parent),
                "pgpass": str(self.folder / "pgpass"),
            },
        }


class PatroniCluster(Database):
    """The nodes as one database server, whose address names all of them.

    Args:
        folder: The folder of `private_folder`.
    """

    def __init__(self, folder: Path) -> None:
        if not (INSTALLED / "patroni").is_dir():
            raise ProgramError("Patroni is missing; `make test-ha` installs it.")
        # PostgreSQL's user may not be able to read the folder of the project.
        shutil.copytree(INSTALLED, folder / "patroni")
        network = 2 + secrets.randbelow(250)
        self._filter = PacketFilter(f"ALLOCATION-HA-{network}")
        self._folder = folder
        self.etcd = Etcd(folder)
        password = secrets.token_hex(8)
        settings = _shared_settings(self.etcd.host, password)
        self.nodes = [
            PatroniNode(folder, name, f"127.1.{network}.{number}", settings) for number, name in enumerate(_NODES, 1)
        ]
        query = {
            "host": ",".join(node.address for node in self.nodes),
            "port": ",".join(str(node.port) for node in self.nodes),
            "target_session_attrs": "read-write",
        }
        url = URL.create("postgresql+psycopg2", username=_USER, password=password, database="postgres", query=query)
        super().__init__(admin_url=url.render_as_string(hide_password=False))

    def start(self) -> None:
        """Start etcd and all nodes, and wait until the cluster is healthy."""
        self.etcd.start()
        for node in self.nodes:
            node.launch()
        self.wait_until_healthy()

    def members(self) -> dict[str, dict[str, Any]]:
        """Return what Patroni says of each node, by name: its `role`, `state` and so on; empty if none answers."""
        for node in self.nodes:
            with suppress(OSError, http.client.HTTPException, ValueError):
                return {member["name"]: member for member in node.get("/cluster")["members"]}
        return {}

    def leader(self) -> PatroniNode | None:
        """Return the node that holds the leader's key in etcd; None while there is none."""
        members = self.members()
        return next((node for node in self.nodes if members.get(node.name, {}).get("role") == "leader"), None)

    def wait_for_leader(self, other_than: PatroniNode | None = None) -> PatroniNode:
        """Wait until a node leads, and return it.

        Raises:
            TimeoutError: It took longer than three minutes.
        """
        found: list[PatroniNode] = []

        def one_leads() -> bool:
            leader = self.leader()
            found[:] = [leader] if leader is not None and leader is not other_than else []
            return bool(found)

        wait_until(one_leads, within=_WITHIN, every=0.2, otherwise=self._state)
        return found[0]

    def wait_until_healthy(self) -> None:
        """Wait until one node leads, and each other one follows and may replace it.

        Raises:
            TimeoutError: It took longer than three minutes.
        """
        wait_until(self._is_healthy, within=_WITHIN, every=0.5, otherwise=self._state)

    def switch_over(self, to: PatroniNode) -> None:
        """Make another node the leader, in an orderly way.

        Raises:
            ProgramError: patronictl failed; the text is its output.
        """
        leader = self.wait_for_leader()
        told = self._ctl("switchover", "--leader", leader.name, "--candidate", to.name, "--force")
        if self.wait_for_leader() is not to:
            raise ProgramError(f"patronictl switchover: {told}")

    def new_database(self) -> str:
        """Create an empty database, wait until each node has it, and return its address.

        A standby that does not have it yet refuses the connection, and libpq does not try the next host.
        """
        address = super().new_database()
        for node in self.nodes:
            wait_until(partial(self._ask, node, "SELECT true", address), within=_WITHIN, otherwise=self._state)
        return address

    def is_writable(self, node: PatroniNode) -> bool:
        """Return whether this node takes connections and says that it is a primary."""
        return self._ask(node, "SELECT NOT pg_is_in_recovery()", self.admin_url)

    def cut_off(self, node: PatroniNode) -> None:
        """Drop all packets to and from this machine, until `join_again`.

        Raises:
            ProgramError: The program iptables is missing, or this process is not root.
        """
        self._filter.drop(("-s", node.address), ("-d", node.address))

    def join_again(self) -> None:
        """End what `cut_off` began. Without it, this does nothing."""
        self._filter.clear()

    def logs(self) -> str:
        """Return the end of each node's log."""
        tails = {node.name: (node.folder / "output.log").read_text(errors="replace")[-4000:] for node in self.nodes}
        return "\n".join(f"--- {name}\n{tail}" for name, tail in tails.items())

    def kill(self) -> None:
        """End all processes as a power cut would."""
        for node in self.nodes:
            node.kill()
        self.etcd.kill()

    def _is_healthy(self) -> bool:
        members = self.members().values()
        roles = {member["role"] for member in members}
        running = [member for member in members if member["state"] in {"running", "streaming"}]
        return len(running) == len(self.nodes) and roles in ({"leader", "sync_standby"}, {"leader", "quorum_standby"})

    def _ask(self, node: PatroniNode, question: str, address: str) -> bool:
        """Return a node's answer; false if it takes no connection."""
        url = make_url(address).set(drivername="postgresql", host=node.address, port=node.port, query={})
        try:
            with (
                closing(psycopg2.connect(url.render_as_string(hide_password=False), connect_timeout=5)) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute(question)
                [row] = cursor.fetchall()
                return bool(row[0])
        except psycopg2.Error:
            return False

    def _ctl(self, *arguments: str) -> str:
        env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        done = subprocess.run(
            [
                str(_PYTHON),
                str(self._folder / "patroni" / "bin" / "patronictl"),
                "-c",
                str(self.nodes[0].config),
                *arguments,
            ],
            env={**env, "PYTHONPATH": str(self._folder / "patroni")},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise ProgramError(f"patronictl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def _state(self) -> str:
        return f"The cluster did not get there: {self.members()}\n{self.logs()}"


def _shared_settings(etcd_host: str, password: str) -> dict[str, Any]:
    login = {"username": _USER, "password": password}
    return {
        "scope": "allocation",
        "etcd3": {"host": etcd_host},
        "bootstrap": {"dcs": _CLUSTER_SETTINGS, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}]},
        "postgresql": {
            "authentication": {
                "superuser": login,
                "replication": {"username": "replicator", "password": password},
                "rewind": login,
            },
            "parameters": {"unix_socket_directories": "", "timezone": "UTC"},
            "pg_hba": [
                "host all all 127.0.0.0/8 scram-sha-256",
                "host replication replicator 127.0.0.0/8 scram-sha-256",
            ],
        },
    }


def _is_postgres(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    return False


def _has_ended(pid: int) -> bool:
    """Return whether the process is gone, or a zombie that its parent has not collected."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@contextmanager
def patroni_cluster(folder: Path) -> Iterator[PatroniCluster]:
    """Start a cluster in this folder. Stop it at the end of the block.

    Raises:
        ProgramError: A program is missing, or a node did not start.
    """
    with ExitStack() as stack:
        cluster = PatroniCluster(folder)
        stack.callback(cluster.kill)
        stack.callback(cluster.join_again)
        cluster.start()
        yield cluster
