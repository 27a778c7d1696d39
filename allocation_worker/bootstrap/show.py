"""Wires `show`, which reads the read model."""

from typing import TYPE_CHECKING

from allocation_contracts import AllocationError
from allocation_worker.bootstrap.addresses import redis_address
from allocation_worker.config import Settings

if TYPE_CHECKING:
    from allocation_worker.adapters.redis.views import RedisViews


class RedisNotInstalledError(AllocationError):
    """The optional extra `redis` is not installed."""

    def __init__(self) -> None:
        super().__init__("The read model needs redis-py: install allocation-worker[redis].")


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
