"""Random histories have the same events as in the naive implementation."""

from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, date, datetime
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from allocation_worker.domain import model
from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    LapseHold,
    Ship,
)
from allocation_worker.domain.errors import RefusalError
from allocation_worker.service_layer import handlers
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from tests.fakes.messages import message
from tests.fakes.naive_shop import Answer, NaiveShop, rejected
from tests.fakes.unit_of_work import FakeDatabase

skus = st.sampled_from(["LAMP", "LAMP", "LAMP", "VASE"])
orderids = st.sampled_from(["o1", "o2", "o3", "o4", "o5"])
lineids = st.sampled_from(["", "2"])
batchrefs = st.sampled_from(["b1", "b2", "b3", "b4", "b5"])
priorities = st.sampled_from([0, 0, 0, 1, 9])
etas = st.none() | st.sampled_from([date.min, date(2026, 1, 1), date(2026, 1, 2)])

untils = st.sampled_from([datetime(2030, 1, 1, 12, tzinfo=UTC), datetime(2030, 1, 1, 13, tzinfo=UTC)])


class AnyHistory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.database = FakeDatabase()
        self.bus = MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS)
        self.naive = NaiveShop()
        self.holds = 0

    @rule(orderid=orderids, sku=skus, lineid=lineids, qty=st.integers(1, 12))
    def allocate(self, orderid: str, sku: str, lineid: str, qty: int) -> None:
        self.compare(Allocate(orderid=orderid, sku=sku, lineid=lineid, qty=qty))

    @rule(orderid=orderids, sku=skus, lineid=lineids, qty=st.integers(1, 12), priority=priorities, needed_by=etas)
    def allocate_or_wait(
        self, orderid: str, sku: str, lineid: str, qty: int, priority: int, needed_by: date | None
    ) -> None:
        self.compare(
            Allocate(
                orderid=orderid, sku=sku, lineid=lineid, qty=qty, wait=True, priority=priority, needed_by=needed_by
            )
        )

    @rule(orderid=orderids, sku=skus, lineid=lineids)
    def allocate_as_before(self, orderid: str, sku: str, lineid: str) -> None:
        known = [line for line in self.naive.lines if line.key == (orderid, sku, lineid) and line.qty]
        qty, wait = (known[0].qty, known[0].wait) if known else (3, False)
        self.compare(Allocate(orderid=orderid, sku=sku, lineid=lineid, qty=qty, wait=wait))

    @rule(orderid=orderids, sku=skus, lineid=lineids)
    def deallocate(self, orderid: str, sku: str, lineid: str) -> None:
        self.compare(Deallocate(orderid=orderid, sku=sku, lineid=lineid))

    @rule(orderid=orderids, sku=skus, lineid=lineids)
    def ship(self, orderid: str, sku: str, lineid: str) -> None:
        self.compare(Ship(orderid=orderid, sku=sku, lineid=lineid))

    @rule(orderid=orderids, sku=skus, lineid=lineids, qty=st.integers(1, 12), from_qty=st.none() | st.integers(1, 12))
    def change_line_quantity(self, orderid: str, sku: str, lineid: str, qty: int, from_qty: int | None) -> None:
        self.compare(ChangeLineQuantity(orderid=orderid, sku=sku, lineid=lineid, qty=qty, from_qty=from_qty))

    @rule(orderid=orderids, sku=skus, lineid=lineids, qty=st.integers(1, 12), until=untils)
    def hold(self, orderid: str, sku: str, lineid: str, qty: int, until: datetime) -> None:
        self.holds += 1
        message_id = f"hold-{self.holds}"
        self.compare(Hold(orderid=orderid, sku=sku, lineid=lineid, qty=qty, until=until, message_id=message_id))

    @rule(orderid=orderids, sku=skus, lineid=lineids, number=st.integers(1, 9))
    def lapse_hold(self, orderid: str, sku: str, lineid: str, number: int) -> None:
        self.compare(LapseHold(orderid=orderid, sku=sku, lineid=lineid, message_id=f"hold-{number}"))

    @rule(orderid=orderids, sku=skus, lineid=lineids)
    def lapse_as_held(self, orderid: str, sku: str, lineid: str) -> None:
        for line in self.naive.lines:
            if line.key == (orderid, sku, lineid) and line.until:
                self.compare(LapseHold(orderid=orderid, sku=sku, lineid=lineid, message_id=line.held_by))
                break

    @rule(batchref=batchrefs, sku=skus, qty=st.integers(1, 20), eta=etas)
    def create_batch(self, batchref: str, sku: str, qty: int, eta: date | None) -> None:
        self.compare(CreateBatch(batchref=batchref, sku=sku, qty=qty, eta=eta))

    @rule(batchref=batchrefs)
    def create_batch_as_before(self, batchref: str) -> None:
        for batch in self.naive.batches:
            if batch.reference == batchref:
                qty, eta = batch.announced["qty"], batch.announced["eta"]
                created_eta = eta and date.fromisoformat(eta)
                self.compare(CreateBatch(batchref=batchref, sku=batch.sku, qty=qty, eta=created_eta))

    @rule(batchref=batchrefs, qty=st.integers(0, 20))
    def change_batch_quantity(self, batchref: str, qty: int) -> None:
        self.compare(ChangeBatchQuantity(batchref=batchref, qty=qty))

    @rule(batchref=batchrefs, eta=etas)
    def change_batch_eta(self, batchref: str, eta: date | None) -> None:
        self.compare(ChangeBatchEta(batchref=batchref, eta=eta))

    @invariant()
    def no_batch_is_oversold_and_its_lines_account_for_all_that_is_allocated(self) -> None:
        held: dict[str | None, int] = defaultdict(int)
        for _orderid, _sku, _lineid, qty, batchref, cancelled in self.database.lines():
            held[batchref] += qty
            assert not (cancelled and batchref)
        for reference, (purchased, allocated) in self.database.stock().items():
            assert 0 <= allocated == held[reference] <= purchased

    @invariant()
    def no_line_that_waits_fits_a_batch_that_it_may_use(self) -> None:
        for product in self.database.committed.products.values():
            for line in product.lines.values():
                for batch in product.batches.values():
                    fits = line.qty <= batch.available_quantity and line.terms.allow(batch.eta)
                    assert not (line.waits and fits), (line, batch)

    @invariant()
    def sequences_have_no_gap_and_tell_events_apart(self) -> None:
        events: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)
        for event in self.database.published():
            if event.sku is not None and event.sequence is not None:
                identity = (event.message_id, str(event.body))
                assert events[event.sku].setdefault(event.sequence, identity) == identity
                assert event.sequence <= len(events[event.sku])

    def compare(self, command: Command) -> None:
        assert self.answer(command) == self.naive.answer(command)

    def answer(self, command: Command) -> list[Answer]:
        before = len(self.database.published())
        with self.database.unit_of_work() as uow:
            try:
                self.bus.handle(message(command), uow)
            except RefusalError as refusal:
                assert not uow.collect_new_events()
                return [rejected(refusal.reason)]
            uow.commit()
        return [(event.type, event.body) for event in self.database.published()[before:]]


class AnyHistoryInPortions(AnyHistory):
    """As above, where a command sees to two lines at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.small_portions = ExitStack()
        for module, name in ((model, "AT_A_TIME"), (handlers, "AT_A_TIME"), (model, "FIRST_SERVED")):
            self.small_portions.enter_context(patch.object(module, name, 2))

    def teardown(self) -> None:
        self.small_portions.close()


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
AnyHistoryInPortions.TestCase.settings = AnyHistory.TestCase.settings
TestAnyHistory = AnyHistory.TestCase
TestAnyHistoryInPortions = AnyHistoryInPortions.TestCase
