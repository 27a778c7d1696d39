"""The unit of work: products, inbox and outbox in one transaction."""

from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.inbox import PostgresInbox
from allocation_worker.adapters.postgres.outbox import PostgresOutbox
from allocation_worker.adapters.postgres.repository import PostgresProducts
from allocation_worker.adapters.postgres.writer import Writer
from allocation_worker.domain.events import RaisedEvent

HOLD_LIMIT = 86_400
"""Seconds, a day: the most that the setting can be."""

_HOLD_LIMIT_FROM_NOW = sa.text("SELECT now() + :hold_limit")


class Optimism:
    """Whether the next transaction takes its messages, and the lines that they allocate, for new.

    They nearly always are. To insert them is cheaper than to ask for them first. If one is not new after all, its
    primary key makes the insert fail, as contention, and the transaction is tried again. From then on each transaction
    asks, until one has found all new. The first one asks, since a process may have been killed before.

    One object is for the transactions of one thread.

    Attributes:
        justified: Whether the next transaction takes them for new.
    """

    def __init__(self) -> None:
        self.justified = False


class PostgresUnitOfWork:
    """A unit of work. It can be entered once.

    Args:
        engine: The database.
        optimism: Shared with the transactions before and after it.
        hold_limit: The longest that stock is held for a line that was not ordered, in seconds.
    """

    products: PostgresProducts
    inbox: PostgresInbox
    outbox: PostgresOutbox

    def __init__(self, engine: Engine, optimism: Optimism | None = None, *, hold_limit: int = HOLD_LIMIT) -> None:
        self._engine = engine
        self._optimism = optimism or Optimism()
        self._hold_limit = hold_limit
        self._hold_limit_from_now: datetime | None = None

    def __enter__(self) -> Self:
        self._connection = self._engine.connect()
        self._writer = Writer(self._connection)
        optimistic = self._optimism.justified
        self.products = PostgresProducts(self._connection, self._writer, optimistic=optimistic)
        self.inbox = PostgresInbox(self._connection, self._writer, optimistic=optimistic)
        self.outbox = PostgresOutbox(self._writer, self.products.stream_of)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._optimism.justified = False
        self._connection.close()

    def hold_limit_from_now(self) -> datetime:
        if self._hold_limit_from_now is None:
            limit = timedelta(seconds=self._hold_limit)
            row = self._connection.execute(_HOLD_LIMIT_FROM_NOW, {"hold_limit": limit}).one()
            self._hold_limit_from_now = row[0].astimezone(UTC)
        return self._hold_limit_from_now

    def collect_new_events(self) -> list[RaisedEvent]:
        return self.products.collect_new_events()

    def commit(self) -> None:
        self._flush()
        self._connection.commit()
        self._optimism.justified = not (self.inbox.found_known or self.products.found_known)

    def _flush(self) -> None:
        self.products.flush()
        self.outbox.flush()
        self._writer.flush()


class DryRunUnitOfWork(PostgresUnitOfWork):
    """A unit of work that writes everything as the real one does, and rolls back on `commit`."""

    def commit(self) -> None:
        self._flush()
        self._connection.rollback()
