"""The queue worker processes one group after the other."""

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from itertools import count
from threading import Event
from typing import Any

import pytest
from structlog.testing import capture_logs

from allocation_worker.adapters import wire
from allocation_worker.domain.commands import Allocate, Command, CreateBatch
from allocation_worker.entrypoints.consume import QueueWorker
from allocation_worker.service_layer.groups import CONTENTION_ATTEMPTS, GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Retry, SetAside
from allocation_worker.service_layer.ports import StoreContentionError, StoreUnavailableError, UnitOfWork
from tests.fakes import policies
from tests.fakes.deliveries import FakeDeliveries
from tests.fakes.locks import ImpatientLocks
from tests.fakes.messages import FakeDelivery, FakeProperties, delivery
from tests.fakes.unit_of_work import CommitFailure, FakeDatabase, FakeUnitOfWork

SOMEBODY = "somebody"
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


def test_each_failure_is_one_line_with_what_the_message_is_and_why_it_failed() -> None:
    def fail(_command: Command, _uow: UnitOfWork) -> None:
        raise ZeroDivisionError("poisonous")

    database = FakeDatabase()
    broken, early = FakeDelivery(body=b"{"), order("2", sku="?")
    bus = MessageBus({**COMMAND_HANDLERS, CreateBatch: fail}, EVENT_HANDLERS)
    processor = GroupProcessor(bus, database.unit_of_work, policies.USUAL)
    with capture_logs() as logged:
        QueueWorker(
            FakeDeliveries([broken, early, CREATE]), wire.read, processor, group_limit=7, stopping=QuickEvent()
        ).run()
    lines = [line for line in logged if line["log_level"] != "debug"]
    told = {line["message_id"]: line for line in lines}
    assert len(told) == len(lines) == 3
    assert all({"queue", "correlation_id", "type"} <= line.keys() for line in lines)
    dead, unknown, failed = (told[each.properties.message_id] for each in (broken, early, CREATE))
    assert (dead["event"], dead["reason"], dead["exc_info"]) == ("dead_lettered", "invalid-json", None)
    assert (unknown["event"], unknown["exc_info"]) == ("retry_scheduled", None)
    assert "No batch of SKU '?'" in unknown["detail"]
    assert (failed["event"], failed["detail"]) == ("retry_scheduled", "ZeroDivisionError: poisonous")
    assert isinstance(failed["exc_info"], ZeroDivisionError)


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


class HeldDatabase(FakeDatabase):
    """A lamp that somebody holds; nobody waits for a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.locks = ImpatientLocks()


class ReleasingDeliveries(FakeDeliveries):
    """Somebody gives a product up before the group of this number is taken."""

    def __init__(self, database: FakeDatabase, before: int, *groups: Sequence[FakeDelivery] | None) -> None:
        super().__init__(*groups)
        self._database = database
        self._before = before

    def take(self, limit: int, within: float | None = None) -> list[FakeDelivery] | None:
        if self.story.count(f"take {limit}") == self._before:
            self._database.locks.release(SOMEBODY)
        return super().take(limit, within)


def work_by_a_clock(deliveries: FakeDeliveries, database: FakeDatabase) -> None:
    """A second passes whenever the clock is read."""
    seconds = count()
    processor = GroupProcessor(MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS), database.unit_of_work, policies.USUAL)
    QueueWorker(
        deliveries, wire.read, processor, group_limit=7, stopping=QuickEvent(), clock=lambda: float(next(seconds))
    ).run()


def answered(deliveries: FakeDeliveries) -> list[FakeDelivery]:
    return [each for each, outcome in deliveries.acked if outcome == Done()]


def test_a_held_product_is_tried_again_in_its_order_and_others_go_on(logs: list[MutableMapping[str, Any]]) -> None:
    database = HeldDatabase()
    work(FakeDeliveries([CREATE], [delivery(CreateBatch(batchref="v", sku="VASE", qty=10))]), database)
    database.locks.take(("sku", "LAMP"), SOMEBODY)
    lamps, vases = [order(str(number)) for number in range(4)], [order(str(number), "VASE") for number in range(2)]
    deliveries = ReleasingDeliveries(
        database, 4, [lamps[0], vases[0], lamps[1]], [lamps[2], vases[1]], None, None, [lamps[3]]
    )
    work_by_a_clock(deliveries, database)
    assert answered(deliveries) == [*vases, *lamps]
    told = [(line["event"], line.get("sku"), line.get("messages")) for line in logs if "product" in line["event"]]
    assert told == [("product_set_aside", "LAMP", 2), ("product_free_again", "LAMP", None)]


def test_deliveries_of_a_channel_that_is_gone_are_not_kept() -> None:
    database = HeldDatabase()
    work(FakeDeliveries([CREATE]), database)
    database.locks.take(("sku", "LAMP"), SOMEBODY)
    old, new = order("1"), order("2", "VASE")
    deliveries = FakeDeliveries([old], [replace(new, generation=2)])
    work_by_a_clock(deliveries, database)
    kept = [each for each, outcome in deliveries.acked if isinstance(outcome, SetAside) and each is old]
    assert len(kept) == 2
