"""Holds lapse once their time has passed, while this relay is the active one."""

from datetime import timedelta
from threading import Event
from typing import Self

import pytest
from structlog.testing import capture_logs

from allocation_worker.domain.commands import Allocate, CreateBatch, Hold
from allocation_worker.entrypoints.lapse import Lapsing
from allocation_worker.entrypoints.while_active import LOOK_EVERY, WhileActive
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.lapse import AT_A_TIME, AT_A_TIME_WITH_QUEUE, LONG_QUEUE, HoldLapser
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.outcomes import LockedProduct
from allocation_worker.service_layer.ports import StoreContentionError, StoreUnavailableError
from tests.fakes.due_holds import FakeDueHolds
from tests.fakes.messages import message
from tests.fakes.unit_of_work import START, FakeDatabase, FakeUnitOfWork

BUS = MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS)


class Stage:
    """A database with a batch of 5 of each of two SKUs, all of it held for a minute."""

    def __init__(self) -> None:
        self.now = START
        self.database = FakeDatabase(now=lambda: self.now)
        self.due = FakeDueHolds(self.database)
        self.lapser = HoldLapser(self.due, BUS, self.database.unit_of_work)
        self.active, self.stopping = Event(), Event()
        self.active.set()
        self.pauses: list[float] = []
        until = self.now + timedelta(minutes=1)
        for sku in ("LAMP", "VASE"):
            self.send(CreateBatch(batchref=f"of-{sku}", sku=sku, qty=5), f"batch-{sku}")
            self.send(Hold(orderid="basket", sku=sku, qty=5, until=until), f"hold-{sku}")

    def send(self, command: CreateBatch | Hold | Allocate, message_id: str) -> None:
        with self.database.unit_of_work() as uow:
            BUS.handle(message(command, message_id), uow)
            uow.commit()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == 3:
            self.stopping.set()

    def run(self) -> None:
        Lapsing(self.lapser, WhileActive(self.active, stopping=self.stopping, sleep=self.sleep)).run()

    def lapsed(self) -> list[tuple[str | None, str]]:
        published = self.database.published()
        return [(event.sku, event.causation_id) for event in published if event.type == "hold-lapsed.v1"]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_nothing_lapses_before_its_time(stage: Stage) -> None:
    stage.run()
    assert stage.lapsed() == []
    assert stage.pauses == 3 * [LOOK_EVERY]


def test_each_hold_lapses_once_and_names_the_message_that_asked_for_it(stage: Stage) -> None:
    stage.now += timedelta(minutes=1)
    stage.run()
    assert stage.lapsed() == [("LAMP", "hold-LAMP"), ("VASE", "hold-VASE")]
    assert stage.database.stock() == {"of-LAMP": (5, 0), "of-VASE": (5, 0)}


def test_a_hold_that_was_confirmed_meanwhile_does_not_lapse(stage: Stage) -> None:
    stage.now += timedelta(minutes=1)
    found = stage.due.find(9, ())
    stage.send(Allocate(orderid="basket", sku="LAMP", qty=5), "order")
    stage.due.find = lambda *_: found  # type: ignore[method-assign] # what another process has just changed
    stage.lapser.step()
    assert stage.lapsed() == [("VASE", "hold-VASE")]


def test_those_that_wait_are_served_with_what_was_held(stage: Stage) -> None:
    stage.send(Allocate(orderid="w", sku="LAMP", qty=4, wait=True), "waits")
    stage.now += timedelta(minutes=1)
    stage.run()
    served = [event for event in stage.database.published() if event.type == "allocated.v1"]
    assert [(event.body["orderid"], event.causation_id) for event in served] == [("w", "hold-LAMP")]


def test_a_product_that_others_have_locked_is_left_for_later(stage: Stage) -> None:
    stage.now += timedelta(minutes=1)
    with stage.database.unit_of_work() as uow:
        uow.products.get("LAMP")
        stage.lapser.step()
        assert stage.lapsed() == [("VASE", "hold-VASE")]
        assert not stage.lapser.step()
    stage.lapser.step()
    assert stage.lapsed() == [("VASE", "hold-VASE"), ("LAMP", "hold-LAMP")]


def test_a_product_whose_holds_wait_for_its_lock_is_named_once(stage: Stage) -> None:
    stage.now += timedelta(minutes=1)
    with capture_logs() as logs:
        with stage.database.unit_of_work() as uow:
            uow.products.get("LAMP")
            for _ in range(3):
                stage.lapser.step()
        stage.lapser.step()
        assert stage.lapsed() == [("VASE", "hold-VASE"), ("LAMP", "hold-LAMP")]
        assert logs == [{"log_level": "warning", "event": "holds_wait", "sku": "LAMP", "holds": 1}]
        stage.send(Hold(orderid="other", sku="LAMP", qty=5, until=stage.now), "other")
        with stage.database.unit_of_work() as uow:
            uow.products.get("LAMP")
            stage.lapser.step()
    assert [entry["event"] for entry in logs] == ["holds_wait", "holds_wait"]


def test_a_product_that_is_locked_for_a_moment_only_is_not_named(stage: Stage) -> None:
    stage.now += timedelta(minutes=1)
    with capture_logs() as logs:
        ending = HoldLapser(stage.due, BUS, lambda: InConstantUse(stage.database))
        ending.step()
        ending.step()
    assert len(stage.lapsed()) == 2
    assert logs == []


class InConstantUse(FakeUnitOfWork):
    """A transaction that finds each product locked whenever it looks, and gets the lock if it waits."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.products.locked_by_others = lambda skus: [  # type: ignore[method-assign] # what others do
            LockedProduct(sku, "1") for sku in sorted(skus)
        ]
        return self


def test_a_product_in_constant_use_is_waited_for(stage: Stage) -> None:
    """It is never free for whoever does not wait, since others always do."""
    stage.now += timedelta(minutes=1)
    ending = HoldLapser(stage.due, BUS, lambda: InConstantUse(stage.database))
    with stage.database.unit_of_work() as uow:
        uow.products.get("LAMP")
        ending.step()
        assert stage.lapsed() == []
        ending.step()
        assert stage.lapsed() == [("VASE", "hold-VASE")]
    ending.step()
    assert stage.lapsed() == [("VASE", "hold-VASE"), ("LAMP", "hold-LAMP")]


def test_a_product_with_a_long_queue_is_locked_alone_and_after_the_others(stage: Stage) -> None:
    """Else all would be locked while its queue is served."""
    for number in range(LONG_QUEUE):
        stage.send(Allocate(orderid=f"w{number}", sku="LAMP", qty=1, wait=True), f"w{number}")
    stage.now += timedelta(minutes=1)
    locked: list[set[str]] = []

    class Seen(FakeUnitOfWork):
        def commit(self) -> None:
            locked.append(set(self._transaction.products))
            super().commit()

    assert not HoldLapser(stage.due, BUS, lambda: Seen(stage.database)).step()
    assert locked == [{"VASE"}, {"LAMP"}]
    assert stage.lapsed() == [("VASE", "hold-VASE"), ("LAMP", "hold-LAMP")]


def test_few_holds_of_a_product_with_a_long_queue_end_at_a_time(stage: Stage) -> None:
    many = AT_A_TIME_WITH_QUEUE + 1
    stage.send(CreateBatch(batchref="large", sku="LAMP", qty=many), "large")
    for number in range(many):
        stage.send(Hold(orderid=f"o{number}", sku="LAMP", qty=1, until=stage.now), f"m{number}")
    for number in range(LONG_QUEUE):
        stage.send(Allocate(orderid=f"w{number}", sku="LAMP", qty=1, wait=True), f"w{number}")
    assert stage.lapser.step()
    assert len(stage.lapsed()) == AT_A_TIME_WITH_QUEUE
    assert not stage.lapser.step()
    assert len(stage.lapsed()) == many


def test_a_product_with_a_long_queue_that_stays_locked_is_tried_again_after_the_next_one(stage: Stage) -> None:
    for sku in ("LAMP", "VASE"):
        for number in range(LONG_QUEUE):
            stage.send(Allocate(orderid=f"w{number}", sku=sku, qty=1, wait=True), f"{sku}-{number}")
    stage.now += timedelta(minutes=1)
    with stage.database.unit_of_work() as uow:
        uow.products.get("LAMP")
        assert stage.lapser.step()
        assert stage.lapsed() == []
        stage.lapser.step()
        assert stage.lapsed() == [("VASE", "hold-VASE")]
        assert not stage.lapser.step()
    stage.lapser.step()
    assert stage.lapsed() == [("VASE", "hold-VASE"), ("LAMP", "hold-LAMP")]


def test_a_product_whose_holds_cannot_be_ended_is_named_once_and_keeps_no_other(stage: Stage) -> None:
    """Its batch counts less than is held, as after a write by another program."""
    stage.database.committed.products["LAMP"].batches["of-LAMP"].allocated_quantity = 4
    stage.now += timedelta(minutes=1)
    with capture_logs() as logs:
        for _ in range(2):
            while stage.lapser.step():
                pass
    assert stage.lapsed() == [("VASE", "hold-VASE")]
    named = [(entry["event"], entry["sku"]) for entry in logs if entry["log_level"] == "error"]
    assert named == [("holds_failed", "LAMP")]
    stage.database.committed.products["LAMP"].batches["of-LAMP"].allocated_quantity = 5
    stage.lapser.step()
    assert stage.lapsed() == [("VASE", "hold-VASE"), ("LAMP", "hold-LAMP")]


def test_a_product_that_seems_to_be_changed_by_others_each_time_keeps_no_other(stage: Stage) -> None:
    """So a line looks that holds stock of a batch of another SKU."""
    stage.now += timedelta(minutes=1)

    class Contended(FakeUnitOfWork):
        def commit(self) -> None:
            if "LAMP" in self._transaction.products:
                raise StoreContentionError("SKU 'VASE' was created by another transaction while this one was looking.")
            super().commit()

    lapser = HoldLapser(stage.due, BUS, lambda: Contended(stage.database))
    with capture_logs() as logs:
        while lapser.step():
            pass
    assert stage.lapsed() == [("VASE", "hold-VASE")]
    named = [(entry["event"], entry["sku"]) for entry in logs if entry["log_level"] == "error"]
    assert named == [("holds_failed", "LAMP")]


def test_several_whose_holds_cannot_be_ended_are_not_tried_again_at_once(stage: Stage) -> None:
    for sku in ("LAMP", "VASE"):
        stage.database.committed.products[sku].batches[f"of-{sku}"].allocated_quantity = 4
    stage.now += timedelta(minutes=1)
    stage.run()
    assert stage.pauses == [0.0, LOOK_EVERY, 0.0]


def test_fewer_than_can_end_at_once_are_all_that_are_due(stage: Stage) -> None:
    """Else a relay would end holds one by one, as they come due."""
    stage.now += timedelta(minutes=1)
    assert not stage.lapser.step()
    assert len(stage.lapsed()) == 2


def test_as_many_as_can_end_at_once_may_not_be_all(stage: Stage) -> None:
    stage.send(CreateBatch(batchref="large", sku="LAMP", qty=AT_A_TIME), "large")
    for number in range(AT_A_TIME):
        stage.send(Hold(orderid=f"o{number}", sku="LAMP", qty=1, until=stage.now), f"m{number}")
    assert stage.lapser.step()
    assert not stage.lapser.step()
    assert len(stage.lapsed()) == AT_A_TIME


def test_many_that_are_due_at_once_leave_a_sign_of_life_after_each_step(stage: Stage) -> None:
    """Else a relay with an hour of holds to end would count as stalled, and be killed."""
    stage.send(CreateBatch(batchref="large", sku="LAMP", qty=AT_A_TIME), "large")
    for number in range(AT_A_TIME):
        stage.send(Hold(orderid=f"o{number}", sku="LAMP", qty=1, until=stage.now), f"m{number}")
    stage.run()
    assert stage.pauses == [0, LOOK_EVERY, LOOK_EVERY]


def test_only_the_active_relay_ends_holds(stage: Stage) -> None:
    stage.active.clear()
    stage.now += timedelta(minutes=1)
    stage.run()
    assert stage.lapsed() == []


def test_it_goes_on_after_an_absence_of_the_database(stage: Stage) -> None:
    stage.due.failures.append(StoreUnavailableError("away"))
    stage.now += timedelta(minutes=1)
    stage.run()
    assert len(stage.lapsed()) == 2
