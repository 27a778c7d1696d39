"""The stores that must keep the same promises."""

from collections.abc import Iterator
from typing import Protocol

import pytest

from allocation_worker.service_layer.ports import UnitOfWork
from allocation_worker.testing.servers import Servers
from tests.fakes.unit_of_work import FakeDatabase, Published
from tests.integration.postgres.store import PostgresStore, migrated_engine


class Store(Protocol):
    """Where units of work come from, and what is to be seen of what they committed."""

    def unit_of_work(self) -> UnitOfWork: ...
    def published(self) -> list[Published]: ...
    def taken(self) -> set[str]: ...
    def stock(self) -> dict[str, tuple[int, int]]: ...
    def lines(self) -> set[tuple[str, str, str, int, str | None, bool]]: ...


@pytest.fixture(scope="session")
def postgres_store(servers: Servers) -> Iterator[PostgresStore]:
    engine = migrated_engine(servers.database.new_database())
    yield PostgresStore(engine)
    engine.dispose()


@pytest.fixture(params=["memory", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return FakeDatabase()
    postgres: PostgresStore = request.getfixturevalue("postgres_store")
    postgres.empty()
    return postgres
