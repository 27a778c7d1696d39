"""The faults of the broker's nodes."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from allocation_worker.testing.servers.local import LocalBroker
from allocation_worker.testing.servers.programs import ProgramError
from chaos.faults.table import InjectFault, fault
from chaos.sandbox import Sandbox
from chaos.traffic import CommandStream


def _node(inject: Callable[[Sandbox, LocalBroker], None], heal: Callable[[Sandbox, LocalBroker], None]) -> InjectFault:
    @contextmanager
    def act(sandbox: Sandbox, _stream: CommandStream, rng: random.Random) -> Iterator[None]:
        node = rng.choice(sandbox.cluster.nodes)
        try:
            inject(sandbox, node)
            yield
        finally:
            heal(sandbox, node)

    return act


def _start(_sandbox: Sandbox, node: LocalBroker) -> None:
    node.start()


fault("broker", "broker node: SIGKILL", 2, 20)(_node(lambda _, node: node.kill(), _start))
fault("broker", "broker node: SIGSTOP", 3, 25)(_node(lambda _, node: node.freeze(), lambda _, node: node.thaw()))
fault("broker", "broker node: orderly stop", 2, 20)(_node(lambda _, node: node.stop(), _start))
fault("broker", "broker node: cut off from the others", 5, 30)(
    _node(lambda sandbox, node: sandbox.cluster.cut_off(node), lambda sandbox, _: sandbox.cluster.join_again())
)


@fault("broker", "broker: connections reset")
@contextmanager
def _connections_reset(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    sandbox.cluster.ctl("close_all_connections", "--global", "chaos")
    yield


@fault("broker", "broker: memory alarm", 3, 15)
@contextmanager
def _memory_alarm(sandbox: Sandbox, _stream: CommandStream, rng: random.Random) -> Iterator[None]:
    node = _a_node_that_runs(sandbox, rng)
    try:
        node.ctl("set_vm_memory_high_watermark", "0.0000001")
        yield
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.4")


@fault("broker", "broker: disk alarm", 3, 15)
@contextmanager
def _disk_alarm(sandbox: Sandbox, _stream: CommandStream, rng: random.Random) -> Iterator[None]:
    node = _a_node_that_runs(sandbox, rng)
    try:
        node.ctl("set_disk_free_limit", "1000GB")
        yield
    finally:
        node.ctl("set_disk_free_limit", "50MB")


@fault("broker", "broker: every node in turn", 0, 0)
@contextmanager
def _rolling_restart(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    for node in sandbox.cluster.nodes:
        node.stop()
        node.start()
        _wait_for_members(sandbox)
    yield


def _a_node_that_runs(sandbox: Sandbox, rng: random.Random) -> LocalBroker:
    """Choose a node. One that a fault has just restarted may need a while on a busy machine."""
    node = rng.choice(sandbox.cluster.nodes)
    node.ctl("await_startup", "--timeout", "120")
    return node


def _wait_for_members(sandbox: Sandbox) -> None:
    """Wait until a node may be stopped, as an operator would: `rabbitmq-queues check_if_node_is_quorum_critical`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(ProgramError):
            if sandbox.cluster.ctl("eval", "length(rabbit_nodes:all_running()).").strip() == str(
                len(sandbox.cluster.nodes)
            ):
                return
        time.sleep(0.5)
