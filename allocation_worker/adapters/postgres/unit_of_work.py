"""The unit of work: products, inbox and outbox in one transaction."""

from types import TracebackType
from typing import Self

from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.inbox import PostgresInbox
from allocation_worker.adapters.postgres.outbox import PostgresOutbox
from allocation_worker.adapters.postgres.repository import PostgresProducts
from allocation_worker.adapters.postgres.writer import Writer
from allocation_worker.domain.events import ProductEvent


class PostgresUnitOfWork:
    """A unit of work. It can be entered once."""

    products: PostgresProducts
    inbox: PostgresInbox
    outbox: PostgresOutbox

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> Self:
        self._connection = self._engine.connect()
        self._writer = Writer(self._connection)
        self.products = PostgresProducts(self._connection, self._writer)
        self.inbox = PostgresInbox(self._connection)
        self.outbox = PostgresOutbox(self._writer, self.products.stream_of)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def collect_new_events(self) -> list[ProductEvent]:
        return self.products.collect_new_events()

    def commit(self) -> None:
        self._flush()
        self._connection.commit()

    def _flush(self) -> None:
        self.products.flush()
        self.outbox.flush()
        self._writer.flush()


class DryRunUnitOfWork(PostgresUnitOfWork):
    """A unit of work that writes everything as the real one does, and rolls back on `commit`."""

    def commit(self) -> None:
        self._flush()
        self._connection.rollback()
