"""Wires `topology`."""

from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.errors import TopologyMissingError
from allocation_worker.config import Settings


def declare_topology(settings: Settings) -> None:
    """Declare all exchanges, queues and bindings of the wire contract."""
    topology.declare(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)


def outdated_queues(settings: Settings) -> dict[str, int]:
    """Return the queues that this version no longer uses, with how many messages wait in each."""
    return topology.outdated_queues(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)


def check_topology(settings: Settings) -> str | None:
    """Check that all exchanges and queues exist. Return None, or a sentence on the first that is missing."""
    try:
        topology.check(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)
    except TopologyMissingError as error:
        return str(error)
    return None
