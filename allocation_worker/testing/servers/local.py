"""Runs the installed broker as a private process, alone or together with a database server.

It listens on the loopback interface only, and writes only to one folder.
"""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from allocation_worker.testing.servers.controls import Broker
from allocation_worker.testing.servers.local_database import LocalDatabase
from allocation_worker.testing.servers.programs import (
    Program,
    ProgramError,
    find_program,
    free_port,
    missing_programs,
    private_folder,
)
from allocation_worker.testing.servers.reaper import MARK

_USER = "allocation"
_ALONE = {"localhost": "127.0.0.1"}


class LocalBroker(Broker):
    """RabbitMQ as a private process, with its own node name, ports, cookie, epmd and folders.

    Call `launch` and `wait_until_ready`, or `start`, which does both. A cluster consists of several of these nodes; see
    `harness.cluster`.

    Args:
        folder: The folder of `private_folder`. The node creates its own inside.
        name: The part of the node's name before the `@`.
        host: The part of the node's name after the `@`.
        hosts: The hosts of the cluster and their addresses, all in the loopback network. A node listens at the address
            of its host, and connects to other nodes from there.
        cookie: The secret that nodes and rabbitmqctl share.
        password: The password of the administrator `allocation`.
        epmd_port: The port of the nodes' port mapper, which the first node starts.
        settings: Further settings of RabbitMQ, as Erlang terms.
        plugins: Further plugins of RabbitMQ, besides the management plugin.
        erlang_arguments: Further arguments for the Erlang VM.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "allocation",
        host: str = "localhost",
        hosts: Mapping[str, str] = _ALONE,
        cookie: str | None = None,
        password: str | None = None,
        epmd_port: int | None = None,
        settings: Sequence[str] = (),
        plugins: Sequence[str] = (),
        erlang_arguments: str = "",
    ) -> None:
        self.address = hosts[host]
        self.node = f"{name}@{host}"
        self.folder = folder / name
        self.port = free_port()
        self.cookie = cookie or secrets.token_hex(16)
        self.password = password or secrets.token_hex(8)
        self.epmd_port = epmd_port or free_port()
        self._management_port = free_port()
        super().__init__(
            amqp_url=f"amqp://{_USER}:{self.password}@{self.address}:{self.port}/%2F",
            management_url=f"http://{_USER}:{self.password}@{self.address}:{self._management_port}",
        )
        self._write_files(hosts, settings, plugins)
        self._env = self._environment(hosts, erlang_arguments, mark=folder)
        self._program = Program([str(find_program("rabbitmq-server"))], env=self._env, folder=self.folder)

    def launch(self) -> None:
        """Start the node and return at once."""
        self._program.launch()

    def wait_until_ready(self) -> None:
        """Wait until the node answers over AMQP and over its management API."""
        self._program.wait_until(self.check)

    def start(self) -> None:
        """Start the node, again or for the first time, and wait until it is ready."""
        self.launch()
        self.wait_until_ready()

    def stop(self) -> None:
        """End the node in an orderly way and wait until it is gone."""
        self._program.end(signal.SIGTERM)

    def freeze(self) -> None:
        """Suspend the node until `thaw`. Its connections stay open, and it does not answer."""
        self._program.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the node."""
        self._program.send(signal.SIGCONT)

    def kill(self) -> None:
        """End the node as a power cut would. See `Broker.kill` about new queues."""
        self._program.end(signal.SIGKILL, group=True)

    def save_queue_names(self) -> None:
        """Make the node write the names of its quorum queues to disk now; by itself it does so later."""
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def close_connections(self, amqp_url: str) -> None:
        """Close all connections to a virtual host at once, even those that have just opened.

        The command close_all_connections of rabbitmqctl misses connections that have just opened.
        """
        vhost = unquote(urlsplit(amqp_url).path[1:])
        self.ctl(
            "eval",
            '[rabbit_networking:close_connection(Reader, <<"a test does it">>) '
            "|| Reader <- rabbit_networking:connections(), "
            f'(catch rabbit_reader:info(Reader, [vhost])) =:= [{{vhost, <<"{vhost}">>}}]].',
        )

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl against this node and return its output.

        Raises:
            ProgramError: It failed; the text is its output.
        """
        command = [str(find_program("rabbitmqctl")), "--silent", "--node", self.node, *args]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if done.returncode:
            raise ProgramError(f"rabbitmqctl {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _write_files(self, hosts: Mapping[str, str], settings: Sequence[str], plugins: Sequence[str]) -> None:
        self.folder.mkdir()
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(self.cookie)
        cookie.chmod(0o400)
        addresses = [f'{{host, {_erlang(address)}, ["{host}"]}}.\n' for host, address in hosts.items()]
        (self.folder / "inetrc").write_text("".join(addresses) + "{lookup, [file, native]}.\n")
        (self.folder / "enabled_plugins").write_text(f"[{','.join(['rabbitmq_management', *plugins])}].\n")
        # Erlang terms, since rabbitmq.conf has no quorum_tick_interval. The management plugin creates a virtual host in
        # 20 ms; two calls of rabbitmqctl take 1.5 s. Its statistics are switched off.
        (self.folder / "advanced.config").write_text(
            f"""[
              {{rabbit, [
                {{tcp_listeners, [{{"{self.address}", {self.port}}}]}},
                {{loopback_users, []}},
                {{default_user, <<"{_USER}">>}},
                {", ".join([f'{{default_pass, <<"{self.password}">>}}', *settings])}]}},
              {{rabbitmq_management, [{{tcp_config, [{{ip, "{self.address}"}}, {{port, {self._management_port}}}]}}]}},
              {{rabbitmq_management_agent, [{{disable_metrics_collector, true}}]}}
            ].\n"""
        )

    def _environment(self, hosts: Mapping[str, str], erlang_arguments: str, *, mark: Path) -> dict[str, str]:
        here = _erlang(self.address)
        interface = f"-kernel inet_dist_use_interface {here}"
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),  # where Erlang looks for the cookie
            MARK: str(mark),
            "ERL_EPMD_ADDRESS": ",".join(hosts.values()),
            "ERL_INETRC": str(self.folder / "inetrc"),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ALLOW_INPUT": "1",  # otherwise a shell would receive the signals for the node
            "RABBITMQ_CONFIG_FILE": str(
                self.folder / "rabbitmq.conf"
            ),  # a missing file, so that the machine's own is not read
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CTL_ERL_ARGS": interface,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-noinput {interface} -kernel inet_dist_connect_options [{{ip,{here}}}] {erlang_arguments}"
            ),
        }


def _erlang(address: str) -> str:
    return f"{{{address.replace('.', ',')}}}"


@contextmanager
def local_servers() -> Iterator[tuple[LocalBroker, LocalDatabase]]:
    """Start both servers. Stop and remove them at the end of the block.

    Raises:
        ProgramError: A program is missing, or one of them did not start.
    """
    if missing := missing_programs():
        raise ProgramError(f"these programs are missing: {', '.join(missing)}")
    with private_folder() as folder, ExitStack() as stack:
        broker = LocalBroker(folder)
        stack.callback(broker.kill)
        broker.launch()
        database = LocalDatabase(folder)
        stack.callback(database.stop, "immediate")
        database.launch()
        database.wait_until_ready()
        broker.wait_until_ready()
        yield broker, database
