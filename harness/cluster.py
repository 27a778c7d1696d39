"""A cluster of three RabbitMQ nodes, private processes with addresses in the loopback network."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path

from allocation_worker.testing.servers.controls import Broker
from allocation_worker.testing.servers.local import LocalBroker
from allocation_worker.testing.servers.programs import ProgramError, free_port
from harness.packet_filter import PacketFilter

# Seconds of silence after which a node considers another one down. The default is a minute.
_TICK = 8


class Cluster(Broker):
    """The nodes as one broker, with network partitions between them.

    Args:
        folder: The folder of `private_folder`.
    """

    def __init__(self, folder: Path) -> None:
        network = 2 + secrets.randbelow(250)  # a separate one, since several clusters may run on one machine
        hosts = {f"allocation-{number}": f"127.0.{network}.{number}" for number in (1, 2, 3)}
        self._addresses = list(hosts.values())
        self._filter = PacketFilter(f"ALLOCATION-CUT-{network}")
        cookie, password, epmd_port = secrets.token_hex(16), secrets.token_hex(8), free_port()
        members = ", ".join(f"'{host}@{host}'" for host in hosts)
        self.nodes = [
            LocalBroker(
                folder,
                name=host,
                host=host,
                hosts=hosts,
                cookie=cookie,
                password=password,
                epmd_port=epmd_port,
                settings=(
                    f"{{cluster_nodes, {{[{members}], disc}}}}",
                    "{cluster_partition_handling, pause_minority}",
                    "{mnesia_table_loading_retry_limit, 60}",
                    "{mnesia_table_loading_retry_timeout, 5000}",
                ),
                erlang_arguments=f"-kernel net_ticktime {_TICK}",
            )
            for host in hosts
        ]
        super().__init__(
            amqp_url=",".join(node.amqp_url for node in self.nodes), management_url=self.nodes[0].management_url
        )

    def start(self) -> None:
        """Start the first node, then the others, which join it."""
        self.nodes[0].start()
        for node in self.nodes[1:]:
            node.launch()
        for node in self.nodes[1:]:
            node.wait_until_ready()

    def stop(self) -> None:
        """Stop all nodes in an orderly way."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """End all nodes as a power cut would."""
        for node in self.nodes:
            node.kill()

    def save_queue_names(self) -> None:
        for node in self.nodes:
            node.save_queue_names()

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl against the first node that answers."""
        errors = []
        for node in self.nodes:
            try:
                return node.ctl(*args)
            except ProgramError as error:
                errors.append(str(error))
        raise ProgramError("; ".join(errors))

    def cut_off(self, node: LocalBroker) -> None:
        """Drop all packets between this node and the others, until `join_again`. Programs still reach all nodes.

        Raises:
            ProgramError: The program iptables is missing, or this process is not root.
        """
        pairs = permutations(self._addresses, 2)
        self._filter.drop(*[("-s", one, "-d", other) for one, other in pairs if node.address in {one, other}])

    def join_again(self) -> None:
        """End the partition of `cut_off`. Without one, this does nothing."""
        self._filter.clear()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start a cluster in this folder. Stop and remove it at the end of the block.

    Raises:
        ProgramError: A program is missing, or a node did not start.
    """
    with ExitStack() as stack:
        broker = Cluster(folder)
        stack.callback(broker.kill)
        stack.callback(broker.join_again)
        broker.start()
        yield broker
