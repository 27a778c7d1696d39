"""Wires `explain`, which shows the history of one command."""

from collections.abc import Mapping

from allocation_worker.adapters.postgres.explain import open_records
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.errors import RabbitMQError
from allocation_worker.bootstrap.database import migrated_database
from allocation_worker.config import Settings
from allocation_worker.service_layer import explain as use_case
from allocation_worker.service_layer.explain import Story


def explain(settings: Settings, message_id: str) -> Story | None:
    """Return the story of a command; None if nothing is stored under its message_id."""
    with migrated_database(settings, "explain") as database, open_records(database) as records:
        return use_case.explain(records, message_id)


def waiting_messages(settings: Settings) -> Mapping[str, int] | None:
    """Return the number of messages in each command, retry and dead-letter queue; None if the broker is unreachable."""
    try:
        return topology.message_counts(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)
    except RabbitMQError:
        return None
