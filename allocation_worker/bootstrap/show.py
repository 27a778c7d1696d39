"""Wires `show`, which reads the read model, and the lines that wait or are held from the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from allocation_contracts import AllocationError
from allocation_worker.adapters.postgres.show import open_lines
from allocation_worker.adapters.rabbitmq.errors import RabbitMQError
from allocation_worker.adapters.rabbitmq.queue_states import read_model_state
from allocation_worker.bootstrap.addresses import BrokerUrls, redis_address
from allocation_worker.bootstrap.database import migrated_database
from allocation_worker.config import Settings
from allocation_worker.service_layer.ports.show import LinesNow
from allocation_worker.service_layer.show import Freshness

if TYPE_CHECKING:
    from allocation_worker.adapters.redis.views import RedisViews


class RedisNotInstalledError(AllocationError):
    """The optional extra `redis` is not installed."""

    def __init__(self) -> None:
        super().__init__("The read model needs redis-py: install allocation-worker[redis].")


@contextmanager
def lines_now(settings: Settings) -> Iterator[LinesNow]:
    """Yield the lines that wait or are held, as the database has them now.

    Raises:
        StoreError: The database is away, or its schema has another revision.
    """
    with migrated_database(settings, "show") as database, open_lines(database) as lines:
        yield lines


def freshness(settings: Settings, found: "RedisViews") -> Freshness:
    """Return how old the read model is. The broker is asked for the events that wait; it may be away."""
    age = found.age()
    try:
        queue = read_model_state(BrokerUrls(settings))
    except RabbitMQError:
        return Freshness(seconds=age, waiting=None, running=None)
    return Freshness(seconds=age, waiting=queue.messages, running=queue.consumers > 0)


def views(settings: Settings) -> "RedisViews":
    """Return the views of the read model."""
    try:
        from allocation_worker.adapters.redis import client  # noqa: PLC0415 - redis-py is an optional extra
        from allocation_worker.adapters.redis.views import RedisViews  # noqa: PLC0415 - as above
    except ImportError as error:
        raise RedisNotInstalledError from error
    latest = redis_address(settings)
    connection = client.connect(latest, name="allocation-worker show", timeout=settings.statement_timeout)
    return RedisViews(connection, latest().masked)
