"""Wires `replay`, which publishes past events again, to one queue."""

from functools import partial

from allocation_worker.adapters.postgres.replay import open_published
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.queue_publisher import publish_to_queue
from allocation_worker.bootstrap.database import migrated_database
from allocation_worker.config import Settings
from allocation_worker.service_layer import replay as use_case
from allocation_worker.service_layer.replay import Replayed


def replay(settings: Settings, *, sku: str, first: int, last: int | None, queue: str) -> Replayed:
    """Publish past events again, to one queue."""
    topology.bind_for_replay(settings.amqp_url, queue)
    with migrated_database(settings, "replay") as database, open_published(database) as history:
        return use_case.replay(
            history, partial(publish_to_queue, settings.amqp_url, queue), sku=sku, first=first, last=last
        )
