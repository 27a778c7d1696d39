"""The implementations of the store that share one suite."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import uuid4

import pytest

from allocation_worker.adapters.postgres.unit_of_work import Optimism
from allocation_worker.service_layer.ports import Pending, UnitOfWork
from allocation_worker.service_layer.ports.show import LinesNow
from allocation_worker.testing.servers import Servers
from tests.fakes.pending import open_pending
from tests.fakes.show import open_lines
from tests.fakes.unit_of_work import PLACES, FakeDatabase, OutboxEvent, Published
from tests.integration.postgres.store import PostgresStore, migrated_engine


class Store(Protocol):
    """Where units of work come from, and what is to be seen of what they committed."""

    def unit_of_work(self) -> UnitOfWork: ...
    def open_pending(self) -> AbstractContextManager[Pending]: ...
    def open_lines(self) -> AbstractContextManager[LinesNow]: ...
    def write_pages(self, *pages: Sequence[str], product: str | None = None) -> list[int]: ...
    def restored(self) -> int: ...
    def published(self) -> list[Published]: ...
    def taken(self, *_asked: str) -> set[str]: ...
    def stock(self) -> dict[str, tuple[int, int]]: ...
    def lines(self) -> set[tuple[str, str, str, int, str | None, bool]]: ...


class MemoryStore(FakeDatabase):
    """The fake, with the outbox as the relay reads it."""

    def open_pending(self) -> AbstractContextManager[Pending]:
        return open_pending(self)

    def open_lines(self) -> AbstractContextManager[LinesNow]:
        return open_lines(self)

    def write_pages(self, *pages: Sequence[str], product: str | None = None) -> list[int]:
        """Pages of events that nothing has caused, given by the types of their events; their ids."""
        ids = list(range(self.next_page, self.next_page + len(pages)))
        self.next_page += len(pages)
        if product:
            self.committed.page_products |= dict.fromkeys(ids, product)
        for id_, types in zip(ids, pages, strict=True):
            for place, type_ in enumerate(types):
                self.committed.outbox[id_ * PLACES + place] = OutboxEvent(_event(type_), b"{}")
        return ids


def _event(type_: str) -> Published:
    return Published(
        message_id=str(uuid4()),
        type=type_,
        sku=None,
        sequence=None,
        body={},
        correlation_id="c",
        causation_id="m",
        traceparent=None,
    )


@pytest.fixture(scope="session")
def postgres_store(servers: Servers) -> Iterator[PostgresStore]:
    engine = migrated_engine(servers.database.new_database())
    yield PostgresStore(engine)
    engine.dispose()


@pytest.fixture(params=["memory", "postgresql"])
def asking_store(request: pytest.FixtureRequest) -> Store:
    """A store that looks whether something is new."""
    return _empty(request)


@pytest.fixture(params=["memory", "postgresql", "optimistic postgresql"])
def store_for_groups(request: pytest.FixtureRequest) -> Store:
    """A store that may take something for new that is not, and then have the transaction tried again."""
    return _empty(request)


@pytest.fixture
def store(asking_store: Store) -> Store:
    return asking_store


def _empty(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    postgres: PostgresStore = request.getfixturevalue("postgres_store")
    postgres.empty()
    postgres.optimism = None
    if request.param == "optimistic postgresql":
        postgres.optimism = Optimism()
        postgres.optimism.justified = True
    return postgres
