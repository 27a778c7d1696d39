"""A dry run predicts the outcome of a message with the real handlers, and stores nothing."""

from datetime import UTC, datetime
from functools import partial

import pytest

from allocation_worker.adapters.postgres.unit_of_work import DryRunUnitOfWork, PostgresUnitOfWork
from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from allocation_worker.domain.events import (
    Allocated,
    Backordered,
    BatchCreated,
    BatchEtaChanged,
    CommandRejected,
    Deallocated,
    Held,
    OutOfStock,
)
from allocation_worker.service_layer.dry_run import DryRun, Prospect
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import UnitOfWork
from tests.fakes.messages import message
from tests.integration.postgres.store import PostgresStore

NEXT_YEAR = datetime(2030, 1, 1, tzinfo=UTC)
LINE = Allocate(orderid="o", sku="SKU", qty=3, lineid="")


@pytest.fixture
def dry_run(store: PostgresStore) -> DryRun:
    return DryRun(COMMAND_HANDLERS, EVENT_HANDLERS, partial(DryRunUnitOfWork, store.engine))


def do(store: PostgresStore, *messages: CommandMessage) -> None:
    bus = MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS)
    for each in messages:
        with PostgresUnitOfWork(store.engine) as uow:
            uow.inbox.receive([each])
            uow.products.lock_for([each.command])
            bus.handle(each, uow)
            uow.commit()


def test_it_tells_the_events_and_leaves_nothing(store: PostgresStore, dry_run: DryRun) -> None:
    do(store, message(CreateBatch(batchref="b", sku="SKU", qty=10, eta=None)))
    before = (store.stock(), store.lines(), store.taken(), store.published())
    for _ in range(2):
        found = dry_run.run(message(LINE, "m"))
        assert found.prospect is Prospect.ANSWERED
        assert [type(event) for event in found.events] == [Allocated]
    assert (store.stock(), store.lines(), store.taken(), store.published()) == before


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (Allocate(orderid="o", sku="SKU", qty=11, lineid=""), OutOfStock),
        (Allocate(orderid="o", sku="NEVER-SEEN", qty=1, lineid=""), CommandRejected),
        (Deallocate(orderid="o", sku="SKU", lineid=""), Deallocated),
        (Allocate(orderid="o", sku="SKU", qty=11, wait=True), Backordered),
        (Hold(orderid="o", sku="SKU", qty=3, until=NEXT_YEAR), Held),
        (Hold(orderid="o", sku="SKU", qty=11, until=NEXT_YEAR), OutOfStock),
        (Ship(orderid="o", sku="SKU"), CommandRejected),
        (ChangeLineQuantity(orderid="o", sku="SKU", qty=2), CommandRejected),
        (ChangeBatchEta(batchref="b", eta=None), BatchEtaChanged),
        (ChangeBatchEta(batchref="never-seen", eta=None), CommandRejected),
    ],
)
def test_it_tells_refusals_too(store: PostgresStore, dry_run: DryRun, command: Command, event: type) -> None:
    do(store, message(CreateBatch(batchref="b", sku="SKU", qty=10, eta=None)))
    assert [type(each) for each in dry_run.run(message(command)).events] == [event]


def test_it_tells_the_lines_that_would_be_served(store: PostgresStore, dry_run: DryRun) -> None:
    waiting = (Allocate(orderid=f"o{number}", sku="SKU", qty=3, wait=True) for number in range(3))
    do(store, message(CreateBatch(batchref="b", sku="SKU", qty=1, eta=None)), *map(message, waiting))
    before = (store.stock(), store.lines(), store.published())
    found = dry_run.run(message(CreateBatch(batchref="b2", sku="SKU", qty=7, eta=None)))
    assert [type(event) for event in found.events] == [BatchCreated, Allocated, Allocated]
    assert (store.stock(), store.lines(), store.published()) == before


def test_it_knows_what_was_done_under_an_id(store: PostgresStore, dry_run: DryRun) -> None:
    do(store, message(CreateBatch(batchref="b", sku="SKU", qty=10, eta=None)), message(LINE, "m"))
    assert dry_run.run(message(LINE, "m")).prospect is Prospect.ALREADY_DONE
    other = message(Allocate(orderid="o", sku="SKU", qty=4, lineid=""), "m")
    assert dry_run.run(other).prospect is Prospect.CONFLICT


def test_it_tells_what_a_handler_would_raise(store: PostgresStore) -> None:
    def fail(_command: Allocate, _uow: UnitOfWork) -> None:
        raise ValueError("no")

    failing = DryRun({**COMMAND_HANDLERS, Allocate: fail}, EVENT_HANDLERS, partial(DryRunUnitOfWork, store.engine))
    found = failing.run(message(LINE))
    assert found.prospect is Prospect.FAILED
    assert str(found.failure) == "no"


def test_what_the_tables_refuse_shows_as_well(store: PostgresStore, dry_run: DryRun) -> None:
    do(store, message(CreateBatch(batchref="b", sku="SKU", qty=10, eta=None)))
    store.execute("ALTER TABLE order_lines ADD CONSTRAINT staged CHECK (qty <> 3)")
    try:
        found = dry_run.run(message(LINE))
    finally:
        store.execute("ALTER TABLE order_lines DROP CONSTRAINT staged")
    assert found.prospect is Prospect.FAILED
    assert "staged" in str(found.failure)
