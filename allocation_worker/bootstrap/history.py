"""Wires what looks back: `replay` and `explain`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres import schema
from allocation_worker.adapters.postgres.published import open_published
from allocation_worker.adapters.postgres.records import open_records
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.errors import RabbitMQError
from allocation_worker.adapters.rabbitmq.queue_publisher import publish_to_queue
from allocation_worker.bootstrap.places import closing_connections, engine
from allocation_worker.config import Settings
from allocation_worker.service_layer import explaining, replaying
from allocation_worker.service_layer.explaining import Story
from allocation_worker.service_layer.replaying import Replayed


def replay(settings: Settings, *, sku: str, first: int, last: int | None, queue: str) -> Replayed:
    """Announce published events again, to one queue."""
    topology.check_queue(settings.amqp_url, queue)
    with _database(settings, "replay") as database, open_published(database) as history:
        return replaying.replay(
            history, partial(publish_to_queue, settings.amqp_url, queue), sku=sku, first=first, last=last
        )


def explain(settings: Settings, message_id: str) -> Story | None:
    """The story of a command; None if nothing is stored under its id."""
    with _database(settings, "explain") as database, open_records(database) as records:
        return explaining.explain(records, message_id)


def waiting_messages(settings: Settings) -> Mapping[str, int] | None:
    """How many messages wait in each queue of commands and in the dead letters; None if that cannot be told."""
    try:
        return topology.message_counts(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)
    except RabbitMQError:
        return None


@contextmanager
def _database(settings: Settings, verb: str) -> Iterator[Engine]:
    with closing_connections(engine(settings, verb)) as database:
        schema.check(database)
        yield database
