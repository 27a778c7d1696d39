"""What every kind of test may use."""

from collections.abc import Iterator

import pytest

from allocation_worker.testing.redis_server import RedisServer, start_redis
from allocation_worker.testing.servers import Servers, start_servers

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A real broker and a real database, started once; take fresh places in them for each test."""
    with start_servers() as running:
        yield running


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis, started once; take a fresh database for each test."""
    with start_redis() as running:
        yield running
