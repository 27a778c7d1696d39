"""Controls the order in which two programs use one database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.domain.commands import Allocate, CreateBatch
from allocation_worker.service_layer.groups import GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import Outcome
from allocation_worker.service_layer.ports import StoreUnavailableError, UnitOfWorkFactory
from tests.fakes import policies

DEADLINE = 20.0
BUS = MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS)


def process(new_unit_of_work: UnitOfWorkFactory, *messages: CommandMessage, grace: int = 0) -> list[Outcome]:
    """One group."""
    return GroupProcessor(BUS, new_unit_of_work, policies.with_grace(grace)).process(messages)


def create(batchref: str, qty: int, sku: str = "LAMP") -> CreateBatch:
    return CreateBatch(batchref=batchref, sku=sku, qty=qty)


def order(orderid: str, qty: int = 1, sku: str = "LAMP") -> Allocate:
    return Allocate(orderid=orderid, sku=sku, qty=qty)


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again; each question is a query, which is pause enough."""
    deadline = monotonic() + DEADLINE
    while not condition():
        assert monotonic() < deadline, "it never happened"


@contextmanager
def counting(engine: Engine) -> Iterator[list[str]]:
    """The statements sent meanwhile."""
    sent: list[str] = []

    def note(*arguments: Any) -> None:
        sent.append(arguments[2])

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def backend_of(connection: Connection) -> int:
    """The process id of the server's side."""
    pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    assert isinstance(pid, int)
    return pid


def until_blocked(engine: Engine, pid: int) -> None:
    """Wait until this backend waits for another one."""

    def blocked() -> bool:
        with engine.begin() as connection:
            return bool(connection.scalar(sa.text("SELECT cardinality(pg_blocking_pids(:pid)) > 0"), {"pid": pid}))

    until(blocked)


def terminate(engine: Engine, pid: int) -> None:
    """End a backend as an administrator, or a failover, would; return when it is gone."""
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    def gone() -> bool:
        with engine.begin() as connection:
            return not connection.scalar(
                sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), {"pid": pid}
            )

    with suppress(StoreUnavailableError):
        until(gone)
