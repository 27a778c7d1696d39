"""A database with the schema."""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.migrate import migrate
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.local_database import LocalDatabase
from allocation_worker.testing.servers.programs import private_folder
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


@pytest.fixture(scope="module")
def own_server() -> Iterator[LocalDatabase]:
    """A server whose settings a module may change."""
    with private_folder() as folder:
        server = LocalDatabase(folder)
        server.start()
        yield server
        server.stop("immediate")


@pytest.fixture(scope="module")
def own_engine(own_server: LocalDatabase) -> Iterator[Engine]:
    """A database of that server, with the tables. It is as durable as in production."""
    engine = create_engine(own_server.new_database(), application_name="tests")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> PostgresStore:
    """Tables that all tests share, emptied before each."""
    store = PostgresStore(engine)
    store.empty()
    return store
