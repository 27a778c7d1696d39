"""Lines and batches go some time after their end, and what a command about one gets then: the fake and PostgreSQL."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from allocation_worker.adapters.postgres.prune import PostgresPruneTimes, pruned_tables
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
from allocation_worker.service_layer.groups import GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.lapse import DueHold, message_of
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.ports import PrunedTable
from tests.contract.conftest import MemoryStore, Store
from tests.fakes import policies
from tests.fakes.messages import message
from tests.fakes.prune import FakeEndedBatches, FakeEndedLines
from tests.integration.postgres.store import PostgresStore

KEEP = timedelta(days=7)
BUS = MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS)
FAR = date(2999, 1, 1)
UNTIL = datetime(2031, 1, 1, tzinfo=UTC)


def create(batchref: str, qty: int, *, eta: date | None = None) -> CreateBatch:
    return CreateBatch(batchref=batchref, sku="LAMP", qty=qty, eta=eta)


def order(orderid: str, qty: int = 1, *, wait: bool = False) -> Allocate:
    return Allocate(orderid=orderid, sku="LAMP", qty=qty, wait=wait)


def hold(orderid: str, qty: int = 1) -> Hold:
    return Hold(orderid=orderid, sku="LAMP", qty=qty, until=UNTIL)


def ship(orderid: str) -> Ship:
    return Ship(orderid=orderid, sku="LAMP")


def cancel(orderid: str) -> Deallocate:
    return Deallocate(orderid=orderid, sku="LAMP")


class Life:
    """A store whose lines and batches are kept for a week after their end."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._tables: Sequence[PrunedTable]
        if isinstance(store, PostgresStore):
            self._tables = pruned_tables(store.engine, history_days=7, inbox_days=7, lines_days=7)[-2:]
        else:
            assert isinstance(store, MemoryStore)
            self._tables = [FakeEndedLines(store, keep=KEEP), FakeEndedBatches(store, keep=KEEP)]

    def prune(self, *, days: float) -> list[int]:
        """Prune so many days from now; how many lines and how many batches have gone."""
        if isinstance(self.store, PostgresStore):
            now = PostgresPruneTimes(self.store.engine).server_time()
        else:
            assert isinstance(self.store, MemoryStore)
            now = self.store.now()
        return [_round(table, now + timedelta(days=days)) for table in self._tables]

    def answers(self, *commands: Command) -> list[str]:
        """Process commands one after the other; the types of all events, or the reasons of rejections."""
        return [answer for command in commands for answer in self.answers_together(command)]

    def answers_together(self, *commands: Command) -> list[str]:
        """Process commands in one transaction; as above."""
        messages = [message(command) for command in commands]
        GroupProcessor(BUS, self.store.unit_of_work, policies.with_grace(0)).process(messages)
        asked = {each.message_id for each in messages}
        return [
            str(event.body["reason"]) if event.type == "command-rejected.v1" else event.type
            for event in self.store.published()
            if event.causation_id in asked
        ]

    def lapse(self, orderid: str, qty: int = 1) -> None:
        """Hold stock for a line, and let that lapse."""
        self.answers(hold(orderid, qty))
        with self.store.unit_of_work() as uow:
            product = uow.products.get("LAMP", (orderid, ""))
            assert product
            held = product.lines[orderid, ""].hold
            assert held
        with self.store.unit_of_work() as uow:
            due = DueHold("LAMP", orderid, "", held.message_id, held.correlation_id)
            told = message_of(due)
            assert isinstance(told.command, LapseHold)
            uow.products.lock_for([told.command])
            BUS.handle(told, uow)
            uow.commit()

    def has(self, orderid: str) -> bool:
        """Whether the row of a line is there."""
        if isinstance(self.store, PostgresStore):
            return bool(self.store.rows("SELECT FROM order_lines WHERE orderid = :orderid", orderid=orderid))
        assert isinstance(self.store, MemoryStore)
        return (orderid, "") in self.store.committed.products["LAMP"].lines


def _round(table: PrunedTable, now: datetime) -> int:
    gone, ended = 0, False
    while not ended:
        rows, ended = table.step(now)
        gone += rows
    return gone


@pytest.fixture
def life(asking_store: Store) -> Life:
    """A shop with a batch of ten."""
    life = Life(asking_store)
    life.answers(create("b", 10))
    return life


@pytest.fixture
def shipped(life: Life) -> Life:
    """One whose only line was shipped, and pruned a week later."""
    life.answers(order("o", 10), ship("o"))
    life.prune(days=8)
    assert not life.has("o")
    return life


class TestWhatEnds:
    def test_a_shipped_line_goes_and_its_batch_stays_allocated(self, life: Life) -> None:
        life.answers(order("o", 4), ship("o"))
        assert life.prune(days=8) == [1, 0]
        assert not life.has("o")
        assert life.store.stock() == {"b": (10, 4)}

    def test_a_cancelled_line_goes_and_frees_nothing_more(self, life: Life) -> None:
        life.answers(order("o", 4), order("p", 3), cancel("o"))
        assert life.prune(days=8) == [1, 0]
        assert life.store.stock() == {"b": (10, 3)}

    def test_a_line_whose_hold_has_lapsed_goes(self, life: Life) -> None:
        life.lapse("basket", 4)
        assert life.prune(days=8) == [1, 0]
        assert not life.has("basket")
        assert life.store.stock() == {"b": (10, 0)}

    @pytest.mark.parametrize("commands", [[order("o", 11)], [cancel("o")]], ids=["out of stock", "cancelled unseen"])
    def test_a_line_that_was_written_as_it_ended_goes_some_days_after_it_was_first_seen(
        self, life: Life, commands: Sequence[Command]
    ) -> None:
        life.answers(*commands)
        assert life.prune(days=100) == [0, 0]
        assert life.prune(days=6) == [0, 0]
        assert life.has("o")
        assert life.prune(days=8) == [1, 0]
        assert not life.has("o")

    def test_nothing_goes_before_its_days_are_over(self, life: Life) -> None:
        life.answers(order("o", 4), order("p", 1), ship("o"), cancel("p"))
        assert life.prune(days=6.9) == [0, 0]
        assert life.has("o")
        assert life.has("p")

    def test_what_is_allocated_held_or_waits_never_goes(self, life: Life) -> None:
        life.answers(order("allocated", 4), hold("held", 6), order("waits", 1, wait=True))
        assert life.prune(days=3650) == life.prune(days=3650) == [0, 0]
        assert all(map(life.has, ("allocated", "held", "waits")))

    def test_a_line_that_comes_back_to_life_is_young_when_it_ends_again(self, life: Life) -> None:
        life.answers(order("o", 11))
        life.prune(days=0)
        life.answers(create("c", 11), order("o", 11))
        assert life.prune(days=8) == [0, 0]
        life.answers(ship("o"))
        assert life.prune(days=6) == [0, 0]
        assert life.has("o")

    def test_a_line_that_is_cancelled_again_stays_for_longer(self, life: Life) -> None:
        life.answers(cancel("o"))
        life.prune(days=0)
        life.answers(cancel("o"))
        assert life.prune(days=6) == [0, 0]

    def test_a_shrink_stops_at_what_was_shipped_also_when_the_line_has_gone(self, life: Life) -> None:
        life.answers(order("o", 4), order("p", 3), ship("o"))
        life.prune(days=8)
        assert life.answers(ChangeBatchQuantity(batchref="b", qty=3)) == ["batch-shipped"]
        assert life.answers(ChangeBatchQuantity(batchref="b", qty=4))[:1] == ["batch-quantity-changed.v1"]
        assert life.store.stock() == {"b": (4, 4)}

    def test_lines_of_a_product_that_others_have_locked_go_later(self, life: Life) -> None:
        life.answers(order("o", 4), ship("o"))
        with life.store.unit_of_work() as uow:
            uow.products.lock_for([order("p")])
            assert life.prune(days=8) == [0, 0]
        assert life.prune(days=8) == [1, 0]


class TestBatches:
    def test_a_batch_of_which_all_was_shipped_goes_some_days_after_its_lines(self, shipped: Life) -> None:
        assert shipped.prune(days=6) == [0, 0]
        assert shipped.store.stock() == {"b": (10, 10)}
        assert shipped.prune(days=8) == [0, 1]
        assert shipped.store.stock() == {}

    def test_one_with_a_line_that_was_not_pruned_stays(self, life: Life) -> None:
        life.answers(order("o", 4), order("p", 6), ship("o"))
        assert life.prune(days=8) == [1, 0]
        assert life.prune(days=3650) == [0, 0]

    def test_one_with_stock_left_stays(self, life: Life) -> None:
        life.answers(order("o", 9), ship("o"))
        assert life.prune(days=8) == [1, 0]
        assert life.prune(days=3650) == life.prune(days=3650) == [0, 0]

    def test_one_that_was_reduced_to_nothing_goes(self, life: Life) -> None:
        life.answers(ChangeBatchQuantity(batchref="b", qty=0))
        life.prune(days=0)
        assert life.prune(days=8) == [0, 1]

    def test_but_not_before_the_day_of_its_arrival(self, life: Life) -> None:
        life.answers(create("ship", 5, eta=FAR), ChangeBatchQuantity(batchref="ship", qty=0))
        life.prune(days=0)
        assert life.prune(days=8) == [0, 0]

    def test_one_that_grows_again_is_young_when_it_ends_again(self, shipped: Life) -> None:
        shipped.prune(days=0)
        shipped.answers(ChangeBatchQuantity(batchref="b", qty=11))
        assert shipped.prune(days=8) == [0, 0]
        shipped.answers(ChangeBatchQuantity(batchref="b", qty=10))
        assert shipped.prune(days=6) == [0, 0]
        assert shipped.prune(days=8) == [0, 1]

    def test_the_next_batch_of_its_sku_is_the_next_to_arrive(self, shipped: Life) -> None:
        shipped.prune(days=8)
        shipped.prune(days=8)
        assert shipped.answers(create("c", 3), order("p", 3)) == ["batch-created.v1", "allocated.v1"]
        assert shipped.store.stock() == {"c": (3, 3)}


class TestCommandsAboutAPrunedLine:
    def test_it_is_as_if_it_had_never_been_seen(self, life: Life) -> None:
        life.answers(order("o", 4), ship("o"))
        life.prune(days=8)
        assert life.answers(ship("o")) == ["line-not-allocated"]
        assert life.answers(ChangeLineQuantity(orderid="o", sku="LAMP", qty=2)) == ["unknown-line"]
        assert life.answers(cancel("o")) == ["deallocated.v1"]
        assert life.store.stock() == {"b": (10, 4)}
        assert life.answers(order("o", 4)) == ["line-cancelled"]

    def test_an_allocate_allocates_it_anew(self, life: Life) -> None:
        life.answers(order("o", 4), ship("o"))
        life.prune(days=8)
        assert life.answers(order("o", 4)) == ["allocated.v1"]
        assert life.store.stock() == {"b": (10, 8)}

    def test_a_hold_holds_stock_anew(self, life: Life) -> None:
        life.answers(order("o", 4), cancel("o"))
        life.prune(days=8)
        assert life.answers(hold("o", 4)) == ["held.v1"]
        assert life.store.stock() == {"b": (10, 4)}

    def test_a_message_that_was_taken_is_still_known(self, life: Life) -> None:
        first = message(order("o", 4))
        processor = GroupProcessor(BUS, life.store.unit_of_work, policies.with_grace(0))
        processor.process([first])
        life.answers(ship("o"))
        life.prune(days=8)
        processor.process([first])
        assert not life.has("o")
        assert life.store.stock() == {"b": (10, 4)}


class TestCommandsAboutAPrunedBatch:
    @pytest.fixture
    def gone(self, shipped: Life) -> Life:
        shipped.prune(days=8)
        assert shipped.store.stock() == {}
        return shipped

    @pytest.mark.parametrize(
        "again",
        [create("b", 10), create("b", 3), replace(create("b", 10), sku="VASE")],
        ids=["as it was", "otherwise", "of another SKU"],
    )
    def test_it_is_never_created_a_second_time(self, gone: Life, again: CreateBatch) -> None:
        assert gone.answers(again) == ["batch-exists"]
        assert gone.store.stock() == {}

    def test_not_even_in_a_group_with_others(self, gone: Life) -> None:
        asked = gone.answers_together(create("c", 1), create("b", 10), create("d", 1))
        assert asked == ["batch-created.v1", "batch-exists", "batch-created.v1"]

    def test_it_is_changed_no_more(self, gone: Life) -> None:
        assert gone.answers(ChangeBatchQuantity(batchref="b", qty=12)) == ["unknown-batch"]
        assert gone.answers(ChangeBatchEta(batchref="b", eta=None)) == ["unknown-batch"]

    def test_the_sentence_says_what_has_become_of_it(self, gone: Life) -> None:
        gone.answers(create("b", 10), ChangeBatchQuantity(batchref="b", qty=12))
        told = [event.body["detail"] for event in gone.store.published()[-2:]]
        was = "Batch 'b' was created before, and is no longer kept, since nothing of it was left to ship"
        assert told == [f"{was}; use another reference.", f"{was}; more stock is a new batch."]
