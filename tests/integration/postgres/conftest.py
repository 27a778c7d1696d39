"""A database with the schema."""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Engine

from allocation_worker.testing.servers import Servers
from tests.integration.postgres.store import PostgresStore, migrated_engine


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A database of the test's own, without tables."""
    url = servers.database.new_database()
    yield url
    servers.database.drop(url)


@pytest.fixture(scope="session")
def engine(servers: Servers) -> Iterator[Engine]:
    engine = migrated_engine(servers.database.new_database())
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> PostgresStore:
    """Tables that all tests share, emptied before each."""
    store = PostgresStore(engine)
    store.empty()
    return store
