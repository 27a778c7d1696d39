from collections.abc import Iterator

import pytest
from redis import Redis

from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.redis_server import RedisServer
from tests.integration.postgres.store import PostgresStore, migrated_engine
from tests.integration.redis.rig import Models


@pytest.fixture(scope="session")
def projected_store(servers: Servers) -> Iterator[PostgresStore]:
    engine = migrated_engine(servers.database.new_database())
    yield PostgresStore(engine)
    engine.dispose()


@pytest.fixture
def models(projected_store: PostgresStore, redis_server: RedisServer) -> Iterator[Models]:
    """Both models, empty."""
    projected_store.empty()
    url = redis_server.new_database()
    with Redis.from_url(url, decode_responses=True) as client:
        yield Models(projected_store, url, client)
