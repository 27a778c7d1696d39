"""The store in memory, over a session that may fail at any statement."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TypeVar

from allocation_worker.domain.commands import Command, LapseHold
from allocation_worker.service_layer.lapse import DueHold
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import LockedProduct
from allocation_worker.service_layer.outgoing import OutgoingEvent, Page
from allocation_worker.service_layer.ports import Receipt, StoreUnavailableError
from tests.fakes.due_holds import FakeDueHolds
from tests.fakes.pending import FakePending
from tests.fakes.unit_of_work import FakeDatabase, FakeInbox, FakeProducts, FakeUnitOfWork, Transaction
from tests.simulation import faults
from tests.simulation.faults import Options, Outcome

if TYPE_CHECKING:
    from tests.simulation.processes import Process

T = TypeVar("T")

COMMIT_TAKES = 0.5
"""Seconds that a commit may still take when its client has gone."""


class Session:
    """A connection to the database.

    Args:
        process: whose it is.
        end: what the server does when it is gone.
    """

    def __init__(self, process: "Process", end: Callable[[], None]) -> None:
        self._process = process
        self._end = end
        self.broken = False
        process.world.sessions.append(self)

    def statement(self, name: str, options: Options, execute: Callable[[], T]) -> T:
        """Execute it, unless it is decided otherwise.

        Raises:
            StoreUnavailableError: the session is gone.
        """

        def execute_if_alive() -> T:
            self._check()
            return execute()

        result = self._process.call(name, options, execute_if_alive, self.break_off)
        self._check()
        return result

    def break_off(self) -> None:
        """The server ends it; the client learns of it at its next statement."""
        self.broken = True
        self._end()

    def close(self) -> None:
        if self in self._process.world.sessions:
            self._process.world.sessions.remove(self)

    def _check(self) -> None:
        if self.broken:
            self._end()
            raise StoreUnavailableError("server closed the connection unexpectedly")


class SimulatedInbox(FakeInbox):
    def __init__(self, transaction: Transaction, session: Session) -> None:
        super().__init__(transaction)
        self._session = session

    def receive(self, messages: Sequence[CommandMessage]) -> list[Receipt]:
        return self._session.statement(
            "inbox-written", faults.LOCKING, lambda: super(SimulatedInbox, self).receive(messages)
        )


class SimulatedProducts(FakeProducts):
    def __init__(self, transaction: Transaction, session: Session) -> None:
        super().__init__(transaction)
        self._session = session

    def lock_for(self, commands: Iterable[Command], *, patient: bool = True) -> None:
        expected = list(commands)
        self._session.statement(
            "loaded", faults.LOCKING, lambda: super(SimulatedProducts, self).lock_for(expected, patient=patient)
        )

    def locked_by_others(self, skus: Collection[str]) -> list[LockedProduct]:
        return self._session.statement(
            "locks-looked-at", faults.STATEMENT, lambda: super(SimulatedProducts, self).locked_by_others(skus)
        )


class SimulatedDueHolds(FakeDueHolds):
    """The holds that are due, read in a transaction of their own."""

    def __init__(self, database: FakeDatabase, process: "Process") -> None:
        super().__init__(database)
        self._process = process

    def find(self, limit: int, besides: Collection[str]) -> list[DueHold]:
        session = Session(self._process, lambda: None)
        try:
            return session.statement(
                "holds-looked-for", faults.STATEMENT, lambda: super(SimulatedDueHolds, self).find(limit, besides)
            )
        finally:
            session.close()


class SimulatedUnitOfWork(FakeUnitOfWork):
    """A transaction of a process."""

    products: SimulatedProducts
    inbox: SimulatedInbox

    def __init__(self, database: FakeDatabase, process: "Process") -> None:
        super().__init__(database)
        self._process = process
        self._detached = False

    def __enter__(self) -> Self:
        super().__enter__()
        self._session = Session(self._process, self._transaction.end)
        self.products = SimulatedProducts(self._transaction, self._session)
        self.inbox = SimulatedInbox(self._transaction, self._session)
        return self

    def __exit__(self, *trouble: object) -> None:
        self._session.close()
        if not self._detached:
            self._transaction.end()

    def note_lapse(self, command: LapseHold) -> None:
        """Take note, for the judge, of a command that is in no inbox."""
        self._transaction.lapses.append(command)

    def commit(self) -> None:
        self._session.statement("flushed", faults.STATEMENT, self._flush)
        self._session.statement("committed", faults.COMMIT, self._commit)

    def _flush(self) -> None:
        self._transaction.check()
        self._transaction.number()

    def _commit(self) -> None:
        if self._process.last is Outcome.ERROR_LATER:
            self._detached = True
            self._process.world.unfinished += 1
            self._process.world.scheduler.later(COMMIT_TAKES, self._finish)
            raise StoreUnavailableError("connection lost in COMMIT")
        self._transaction.apply()

    def _finish(self) -> None:
        self._transaction.apply()
        self._transaction.end()
        self._process.world.unfinished -= 1


class SimulatedPending(FakePending):
    """The relay's session with the outbox."""

    def __init__(self, database: FakeDatabase, process: "Process") -> None:
        super().__init__(database)
        self._process = process
        self._session = Session(process, super().close)

    def acquire(self) -> bool:
        return self._session.statement("acquired", faults.STATEMENT, super().acquire)

    def fetch(self, limit: int, taken: Collection[int]) -> list[Page]:
        return self._session.statement(
            "claimed", faults.STATEMENT, lambda: super(SimulatedPending, self).fetch(limit, taken)
        )

    def read(self, pages: Collection[int]) -> list[Page]:
        return self._session.statement("read", faults.STATEMENT, lambda: super(SimulatedPending, self).read(pages))

    def mark_published(self, pages: Collection[int], unrouted: Collection[int]) -> None:
        self._write("marked", lambda: super(SimulatedPending, self).mark_published(pages, unrouted))

    def oldest_unrouted(self) -> list[OutgoingEvent]:
        return self._session.statement("looked-at-unrouted", faults.STATEMENT, super().oldest_unrouted)

    def fetch_unrouted(self, types: Collection[str], limit: int, after: int) -> list[OutgoingEvent]:
        return self._session.statement(
            "claimed-unrouted",
            faults.STATEMENT,
            lambda: super(SimulatedPending, self).fetch_unrouted(types, limit, after),
        )

    def remove_unrouted(self, ids: Collection[int]) -> None:
        self._write("removed-unrouted", lambda: super(SimulatedPending, self).remove_unrouted(ids))

    def _write(self, name: str, write: Callable[[], None]) -> None:
        """Write something that the database may lose in a crash soon afterwards."""

        def write_at_risk() -> None:
            committed = self._process.world.database.committed
            before = (set(committed.published), set(committed.unrouted))
            write()
            self._process.world.at_risk(*before)

        self._session.statement(name, faults.WRITE, write_at_risk)

    def wait(self, timeout: float, wake_fd: int) -> bool:
        waker = self._process.waker
        assert waker.fd == wake_fd
        self._process.world.scheduler.wait(lambda: self._notified or waker.awake or self._session.broken, timeout)
        if self._session.broken:
            raise StoreUnavailableError("server closed the connection unexpectedly")
        notified, self._notified = self._notified, False
        return notified or (timeout > 0 and not waker.awake)

    def close(self) -> None:
        self._session.close()
        super().close()


@contextmanager
def open_pending(database: FakeDatabase, process: "Process") -> Iterator[SimulatedPending]:
    """A session; leaving it gives up the lock."""
    pending = SimulatedPending(database, process)
    try:
        yield pending
    finally:
        pending.close()
