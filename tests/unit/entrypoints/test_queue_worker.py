"""The queue worker processes one group after the other."""

from threading import Event

import pytest

from allocation_worker.adapters import wire
from allocation_worker.domain.commands import Allocate, CreateBatch
from allocation_worker.entrypoints.consume import QueueWorker
from allocation_worker.service_layer.groups import CONTENTION_ATTEMPTS, GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Retry
from allocation_worker.service_layer.ports import StoreContentionError, StoreUnavailableError
from tests.fakes import policies
from tests.fakes.deliveries import FakeDeliveries
from tests.fakes.messages import FakeDelivery, FakeProperties, delivery
from tests.fakes.unit_of_work import CommitFailure, FakeDatabase, FakeUnitOfWork

CREATE = delivery(CreateBatch(batchref="b", sku="LAMP", qty=10))


class QuickEvent(Event):
    """Time passes at once."""

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        return self.is_set()


def order(orderid: str, sku: str = "LAMP") -> FakeDelivery:
    return delivery(Allocate(orderid=orderid, sku=sku, qty=1))


class ClosedDatabase(FakeDatabase):
    def unit_of_work(self) -> FakeUnitOfWork:
        raise AssertionError("nobody was to open a transaction")


def work(deliveries: FakeDeliveries, database: FakeDatabase, *, stopping: Event | None = None) -> None:
    processor = GroupProcessor(MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS), database.unit_of_work, policies.USUAL)
    QueueWorker(deliveries, wire.read, processor, group_limit=7, stopping=stopping or QuickEvent()).run()


def test_takes_processes_and_acks_until_there_are_no_more_deliveries() -> None:
    one, two = order("1"), order("2")
    deliveries = FakeDeliveries([CREATE], [one, two])
    work(deliveries, FakeDatabase())
    assert deliveries.story == ["take 7", "ack 1", "take 7", "ack 2", "take 7"]
    assert deliveries.acked == [(CREATE, Done()), (one, Done()), (two, Done())]


def test_a_broken_contract_is_a_dead_letter_and_needs_no_database() -> None:
    broken = FakeDelivery(body=b"{")
    nameless = FakeDelivery(body=b"{}", properties=FakeProperties(message_id=None))
    deliveries = FakeDeliveries([broken, nameless])
    work(deliveries, ClosedDatabase())
    assert [delivery for delivery, _ in deliveries.acked] == [broken, nameless]
    reasons = [outcome.reason for _, outcome in deliveries.acked if isinstance(outcome, DeadLettered)]
    assert reasons == ["invalid-json", "missing-message-id"]


def test_a_broken_contract_harms_no_neighbour() -> None:
    broken, good, early = FakeDelivery(body=b"[]"), order("1"), order("1", sku="?")
    deliveries = FakeDeliveries([CREATE], [broken, good, early])
    work(deliveries, FakeDatabase())
    outcomes = {id(delivery): outcome for delivery, outcome in deliveries.acked}
    assert isinstance(outcomes[id(broken)], DeadLettered)
    assert outcomes[id(good)] == Done()
    assert outcomes[id(early)] == Retry(after=1, attempts=1)


@pytest.mark.parametrize("durable", [False, True])
def test_holds_the_queue_while_the_database_is_away_and_goes_on_when_it_is_back(durable: bool) -> None:  # noqa: FBT001
    database = FakeDatabase()
    database.failures.extend([CommitFailure(StoreUnavailableError("gone"), durable=durable)] * 3)
    deliveries = FakeDeliveries([CREATE], [order("1")])
    work(deliveries, database)
    assert deliveries.story == [
        "take 7",
        *["hold"] * 3,
        "release",
        "ack 1",
        "take 7",
        "ack 1",
        "take 7",
    ]
    assert [outcome for _, outcome in deliveries.acked] == [Done(), Done()]
    assert [event.type for event in database.published()] == ["batch-created.v1", "allocated.v1"]


def test_contention_without_end_holds_the_queue_too() -> None:
    database = FakeDatabase()
    database.failures.extend([CommitFailure(StoreContentionError("lock timeout"))] * CONTENTION_ATTEMPTS)
    deliveries = FakeDeliveries([CREATE])
    work(deliveries, database)
    assert deliveries.story == ["take 7", "hold", "release", "ack 1", "take 7"]


def test_told_to_stop_while_the_database_is_away_it_acks_nothing() -> None:
    database, stopping = FakeDatabase(), Event()
    stopping.set()
    database.failures.append(CommitFailure(StoreUnavailableError("gone")))
    deliveries = FakeDeliveries([CREATE], [order("1")])
    work(deliveries, database, stopping=stopping)
    assert deliveries.story == ["take 7", "hold"]
    assert deliveries.acked == []


def test_an_unexpected_error_is_raised() -> None:
    class BrokenDeliveries(FakeDeliveries):
        def take(self, limit: int, within: float | None = None) -> list[FakeDelivery]:
            assert within is None
            raise RuntimeError(f"no {limit} for you")

    with pytest.raises(RuntimeError, match="no 7 for you"):
        work(BrokenDeliveries(), FakeDatabase())
