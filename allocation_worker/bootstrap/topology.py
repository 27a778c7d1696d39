"""Wires `topology`."""

from collections.abc import Callable

from allocation_worker.adapters.rabbitmq import topology, topology_check
from allocation_worker.adapters.rabbitmq.layout import READ_MODEL, layout, own_queues
from allocation_worker.adapters.rabbitmq.policies import command_line, own_policy
from allocation_worker.adapters.rabbitmq.replace import Replacement
from allocation_worker.adapters.rabbitmq.topology_check import TopologyReport
from allocation_worker.bootstrap.management import management, virtual_host
from allocation_worker.config import Settings

__all__ = ["TopologyReport"]


def declare_topology(settings: Settings) -> None:
    """Declare all exchanges, queues and bindings of the wire contract."""
    topology.declare(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)


def set_policy(settings: Settings) -> str | None:
    """Set the policy that keeps others away from the queues. Return None, or the command that sets it.

    Raises:
        ManagementError: The management API is given, and cannot be used.
    """
    api = management(settings)
    if api is None:
        return command_line(virtual_host(settings))
    api.set_policy(own_policy(api.policies(), own_queues(settings.retry_policy.all_delays)))
    return None


def outdated_queues(settings: Settings) -> dict[str, int]:
    """Return the queues that this version no longer uses, with how many messages wait in each."""
    return topology.outdated_queues(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)


def check_topology(settings: Settings) -> TopologyReport:
    """Return what is wrong with exchanges, queues, arguments, bindings and policies, and what cannot be seen."""
    return topology_check.check(
        settings.amqp_url, retry_delays=settings.retry_policy.all_delays, management=management(settings)
    )


def replaceable_queues(settings: Settings) -> list[str]:
    """Return the names of the queues that can be replaced."""
    return [*own_queues(settings.retry_policy.all_delays), *(queue.name for queue in READ_MODEL.queues)]


def replace_queue(settings: Settings, name: str, on_progress: Callable[[str], None]) -> int | None:
    """Move a queue to one that has the arguments that this version needs; go on with an interrupted replacement.

    Args:
        settings: The settings.
        name: One of `replaceable_queues`.
        on_progress: Called with a sentence from time to time.

    Returns:
        How many messages were moved; None if the queue has the right arguments.
    """
    wanted = READ_MODEL if READ_MODEL.queue(name) else layout(settings.retry_policy.all_delays)
    queue = wanted.queue(name)
    if queue is None:
        raise ValueError(f"There is no queue {name}.")
    return Replacement(
        settings.amqp_url, queue, wanted, replaceable_queues(settings), management(settings), on_progress=on_progress
    ).run()
