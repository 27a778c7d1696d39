"""The contract of the store, for the fake and for PostgreSQL."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from typing import Any

import pytest

from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    LapseHold,
)
from allocation_worker.domain.errors import RefusalError
from allocation_worker.domain.events import Backordered, Deallocated
from allocation_worker.domain.lines import OrderLine, Terms
from allocation_worker.domain.model import Product
from allocation_worker.service_layer.groups import GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Outcome, Retry, SetAside
from allocation_worker.service_layer.ports import Receipt, StoreError, StoreLockTimeoutError, UnitOfWork
from tests.contract.conftest import MemoryStore, Store
from tests.fakes import policies
from tests.fakes.messages import message
from tests.fakes.unit_of_work import Published

FRESH, REPEAT, CONFLICT = Receipt.FRESH, Receipt.REPEAT, Receipt.CONFLICT
BUS = MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS)
ETA = date(2026, 1, 1)
LONG_AGO = datetime(2026, 1, 1, 12, tzinfo=UTC)

ASTRAL = "\U0001f6cb" * 255
UNPRINTABLE = "\U000e0001" * 255
HOSTILE = [
    "quote \" and ' and `",
    "backslash \\ and \\\\ and \\n and \\x41",
    "{braces}, {{and}} commas,,",
    "NULL",
    "null",
    '"',
    "\\",
    "{}",
    "a,b",
    "%s %(name)s %%",
    ":name ::text $1 ?",
    "'; DROP TABLE products; --",
    "inner  blanks",
    "\u00df \u0130 \u0131 e\u0301 \u00e9",
]


def create(batchref: str, qty: int, *, sku: str = "LAMP", eta: date | None = None) -> CreateBatch:
    return CreateBatch(batchref=batchref, sku=sku, qty=qty, eta=eta)


def change(batchref: str, qty: int) -> ChangeBatchQuantity:
    return ChangeBatchQuantity(batchref=batchref, qty=qty)


def order(orderid: str, qty: int = 1, *, sku: str = "LAMP", lineid: str = "") -> Allocate:
    return Allocate(orderid=orderid, sku=sku, qty=qty, lineid=lineid)


def wait(orderid: str, qty: int = 1, *, priority: int = 0, needed_by: date | None = None) -> Allocate:
    return replace(order(orderid, qty), wait=True, priority=priority, needed_by=needed_by)


def cancel(orderid: str, *, sku: str = "LAMP", lineid: str = "") -> Deallocate:
    return Deallocate(orderid=orderid, sku=sku, lineid=lineid)


def process(store: Store, *messages: CommandMessage | Command, grace: int = 0) -> list[Outcome]:
    """One group."""
    group = [each if isinstance(each, CommandMessage) else message(each) for each in messages]
    return GroupProcessor(BUS, store.unit_of_work, policies.with_grace(grace)).process(group)


def given(store: Store, *commands: Command) -> None:
    assert process(store, *commands) == [Done()] * len(commands)


def briefly(events: Sequence[Published]) -> list[str]:
    return [
        " ".join(
            str(part)
            for part in (event.type, event.body.get("orderid"), event.body.get("batchref"), event.body.get("reason"))
            if part
        )
        for event in events
    ]


@pytest.fixture
def store(store_for_groups: Store) -> Store:
    return store_for_groups


class TestInbox:
    @pytest.fixture
    def store(self, asking_store: Store) -> Store:
        return asking_store

    def test_a_new_message_is_fresh(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([message(order("o"), "a"), message(order("o"), "b")]) == [FRESH, FRESH]

    def test_the_same_message_later_is_a_repeat(self, store: Store) -> None:
        received = message(order("o"), "a")
        for expected in (FRESH, REPEAT, REPEAT):
            with store.unit_of_work() as uow:
                assert uow.inbox.receive([received]) == [expected]
                uow.commit()

    def test_the_same_message_twice_in_one_group_is_a_repeat(self, store: Store) -> None:
        twice = message(order("o"), "a")
        again = message(order("o"), "a")
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([twice, message(order("o"), "b"), again, twice]) == [
                FRESH,
                FRESH,
                REPEAT,
                REPEAT,
            ]

    def test_another_message_under_the_id_is_a_conflict_now_and_later(self, store: Store) -> None:
        first, other = message(order("o", 1), "a"), message(order("o", 2), "a")
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([first, other, first]) == [FRESH, CONFLICT, REPEAT]
            uow.commit()
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([other, first, other]) == [CONFLICT, REPEAT, CONFLICT]

    def test_another_type_under_the_id_is_a_conflict(self, store: Store) -> None:
        allocate, deallocate = message(order("o"), "a"), message(cancel("o"), "a")
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([allocate, deallocate]) == [FRESH, CONFLICT]

    def test_receipts_come_in_the_order_of_the_messages(self, store: Store) -> None:
        known = message(order("o"), "m")
        with store.unit_of_work() as uow:
            uow.inbox.receive([known])
            uow.commit()
        with store.unit_of_work() as uow:
            messages = [message(order("o"), "z"), known, message(order("o"), "a")]
            assert uow.inbox.receive(messages) == [FRESH, REPEAT, FRESH]

    def test_a_receipt_that_is_not_committed_did_not_happen(self, store: Store) -> None:
        received = message(order("o"), "a")
        for _ in range(2):
            with store.unit_of_work() as uow:
                assert uow.inbox.receive([received]) == [FRESH]
        assert store.taken() == set()

    def test_a_forgotten_message_is_fresh_when_it_comes_again(self, store: Store) -> None:
        kept, forgotten = message(order("o"), "a"), message(order("o"), "b")
        with store.unit_of_work() as uow:
            uow.inbox.receive([kept, forgotten])
            uow.inbox.forget(forgotten)
            uow.commit()
        assert store.taken("a", "b") == {"a"}
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([kept, forgotten]) == [REPEAT, FRESH]

    @pytest.mark.parametrize("text", [*HOSTILE, ASTRAL])
    def test_a_message_id_may_hold_anything_printable(self, store: Store, text: str) -> None:
        received = [message(order("o"), text), message(order("o"), "another")]
        for expected in (FRESH, REPEAT):
            with store.unit_of_work() as uow:
                assert uow.inbox.receive(received) == [expected, expected]
                uow.commit()
        assert store.taken(text, "another") == {text, "another"}

    def test_no_message_is_no_trouble(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([]) == []
            uow.products.lock_for([])
            uow.commit()


class TestTransactions:
    def test_commit_makes_all_of_it_durable(self, store: Store) -> None:
        assert process(store, message(create("b", 10), "a"), message(order("o", 3), "b")) == [Done(), Done()]
        assert store.taken("a", "b") == {"a", "b"}
        assert store.stock() == {"b": (10, 3)}
        assert store.lines() == {("o", "LAMP", "", 3, "b", False)}
        assert briefly(store.published()) == ["batch-created.v1 b", "allocated.v1 o b"]

    def test_leaving_without_commit_leaves_nothing(self, store: Store) -> None:
        given(store, create("b", 10))
        before = (store.taken(), store.stock(), store.lines(), store.published())
        with store.unit_of_work() as uow:
            received = [message(order("o", 3)), message(change("b", 1)), message(create("new", 1, sku="NEW"))]
            uow.inbox.receive(received)
            for each in received:
                BUS.handle(each, uow)
        assert (store.taken(), store.stock(), store.lines(), store.published()) == before

    def test_an_exception_leaves_nothing(self, store: Store) -> None:
        given(store, create("b", 10))

        def fail_halfway() -> None:
            with store.unit_of_work() as uow:
                BUS.handle(message(order("o", 3)), uow)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail_halfway()
        assert store.stock() == {"b": (10, 0)}
        assert len(store.published()) == 1

    def test_no_batch_can_be_oversold_whatever_the_handlers_do(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            product = uow.products.get_by_batchref("b")
            assert product
            product.batches["b"].allocated_quantity = 11
            with pytest.raises(StoreError, match="never_oversold"):
                uow.commit()
        assert store.stock() == {"b": (10, 0)}


class TestProducts:
    def test_a_sku_never_heard_of_is_none(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            assert uow.products.get("LAMP") is None
            assert uow.products.get("LAMP", ("o", "")) is None

    def test_a_product_keeps_its_counters(self, store: Store) -> None:
        given(store, create("b", 10), create("c", 10), order("o", 3))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert product
            assert (product.sku, product.sequence, product.batches_arrived) == ("LAMP", 3, 2)

    def test_a_sku_that_was_only_ever_cancelled_has_no_batch(self, store: Store) -> None:
        given(store, cancel("o"))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert product
            assert (product.sequence, product.batches_arrived, product.batches) == (1, 0, {})

    def test_a_batch_keeps_all_that_is_known_of_it(self, store: Store) -> None:
        given(store, create("a", 1), create("b", 10, eta=ETA), order("o", 4), change("b", 25))
        with store.unit_of_work() as uow:
            product = uow.products.get_by_batchref("b")
            assert product
            batch = product.batches["b"]
            assert (batch.reference, batch.sku, batch.eta, batch.arrival) == ("b", "LAMP", ETA, 2)
            assert (batch.purchased_quantity, batch.allocated_quantity) == (25, 4)
            assert (batch.created_qty, batch.created_eta, batch.sequence) == (10, ETA, 2)

    @pytest.mark.parametrize("eta", [date.min, date(2024, 2, 29), date.max, None])
    def test_a_batch_keeps_its_eta(self, store: Store, eta: date | None) -> None:
        given(store, create("b", 10, eta=eta))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert product
            assert product.batches["b"].eta == eta

    def test_a_line_keeps_all_that_is_known_of_it(self, store: Store) -> None:
        given(store, create("b", 10), order("o", 3, lineid="1"), cancel("gone"))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP", ("o", "1"))
            assert product
            assert product.lines["o", "1"] == OrderLine("o", "1", 3, "b", cancelled=False, sequence=2, place=2)
            assert uow.products.get("LAMP", ("gone", "")) is product
            assert product.lines["gone", ""] == OrderLine("gone", "", 0, None, cancelled=True, sequence=3, place=3)

    def test_a_line_never_seen_is_blank_and_leaves_no_trace(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            uow.products.lock_for([order("expected")])
            product = uow.products.get("LAMP", ("o", "1"))
            assert product
            assert product.lines["o", "1"] == OrderLine("o", "1")
            uow.commit()
        assert store.lines() == set()

    def test_within_a_transaction_it_is_one_and_the_same_product(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert product
            assert uow.products.get("LAMP", ("o", "")) is product
            assert uow.products.get_by_batchref("b") is product

    def test_a_product_taken_in_is_found_by_its_sku(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            assert uow.products.get("LAMP") is None
            product = Product("LAMP")
            assert uow.products.add(product, ("o", "")) is product
            assert product.lines["o", ""] == OrderLine("o", "")
            assert uow.products.get("LAMP", ("p", "")) is product
            assert product.lines["p", ""] == OrderLine("p", "")

    def test_a_batch_never_heard_of_is_none(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            uow.products.lock_for([change("expected", 1), create("also-expected", 1)])
            assert uow.products.get_by_batchref("nothing") is None
            assert uow.products.get_by_batchref("expected") is None
            assert uow.products.get_by_batchref("also-expected") is None

    def test_a_batch_that_is_used_up_is_found_by_its_reference(self, store: Store) -> None:
        given(store, create("b", 1), create("c", 5), order("o", 1), create("d", 1))
        with store.unit_of_work() as uow:
            product = uow.products.get_by_batchref("b")
            assert product
            assert product.batches["b"].available_quantity == 0
            assert {"b", "c", "d"} <= product.batches.keys()

    def test_a_batch_that_is_used_up_is_found_after_its_product_was(self, store: Store) -> None:
        given(store, create("b", 1), order("o", 1))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert uow.products.get_by_batchref("b") is product
            assert product
            assert product.batches["b"].allocated_quantity == 1

    def test_the_batch_that_a_line_holds_comes_with_it_even_used_up(self, store: Store) -> None:
        given(store, create("b", 1), order("o", 1))
        with store.unit_of_work() as uow:
            uow.products.get("LAMP")
            product = uow.products.get("LAMP", ("o", ""))
            assert product
            assert product.batches["b"].allocated_quantity == 1

    def test_new_events_are_collected_once(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP", ("o", ""))
            assert product
            product.allocate(("o", ""), 1)
            assert uow.products.get("LAMP") is product
            product.deallocate(("o", ""))
            assert [type(event).__name__ for event in uow.collect_new_events()] == ["Allocated", "Deallocated"]
            assert uow.collect_new_events() == []


class TestWaiting:
    def waiting(self, uow: UnitOfWork, **wanted: Any) -> list[str]:
        product = uow.products.get("LAMP")
        assert product
        page = {"after": None, "at_most": 100, "limit": 100, **wanted}
        return [line.orderid for line in uow.products.waiting(product, **page)]

    @pytest.fixture
    def queue(self, store: Store) -> Store:
        """Two that wait, an urgent one, and lines that do not wait."""
        given(store, create("b", 1), order("holds"), order("out", 5), wait("w1", 5), wait("w2", 3))
        given(store, wait("urgent", 4, priority=9), wait("gone", 3), cancel("gone"), wait("left", 2), order("left", 2))
        return store

    def test_they_come_in_order_of_their_turns(self, queue: Store) -> None:
        with queue.unit_of_work() as uow:
            assert self.waiting(uow) == ["urgent", "w1", "w2"]

    def test_larger_ones_are_left_out(self, queue: Store) -> None:
        with queue.unit_of_work() as uow:
            assert self.waiting(uow, at_most=4) == ["urgent", "w2"]

    def test_they_are_read_in_portions(self, queue: Store) -> None:
        with queue.unit_of_work() as uow:
            assert self.waiting(uow, limit=1) == ["urgent"]
            product = uow.products.get("LAMP")
            assert product
            [first] = uow.products.waiting(product, after=None, at_most=100, limit=1)
            assert self.waiting(uow, after=first.turn, limit=1) == ["w1"]

    def test_changes_of_the_same_transaction_count(self, queue: Store) -> None:
        with queue.unit_of_work() as uow:
            for command in (wait("new", 7), cancel("w1"), wait("w2", 9)):
                BUS.handle(message(command), uow)
            assert self.waiting(uow) == ["urgent", "new", "w2"]

    def test_a_line_keeps_what_was_asked_for_it_and_how_it_was_answered(self, store: Store) -> None:
        given(store, create("b", 1), wait("w", 2, priority=3, needed_by=ETA))
        with store.unit_of_work() as uow:
            uow.products.lock_for([cancel("w")])
            product = uow.products.get("LAMP", ("w", ""))
            assert product
            line = product.lines["w", ""]
            assert (line.terms, line.waits, product.smallest_waiting) == (
                Terms(wait=True, priority=3, needed_by=ETA),
                True,
                2,
            )
            told = Backordered(
                orderid="w", sku="LAMP", lineid="", qty=2, largest_available=1, next_eta=None, sequence=2
            )
            assert line.answer == told

    def test_a_line_that_was_taken_for_new_and_waits_is_found_out(self, store: Store) -> None:
        """A group frees stock and asks again for the line that gets it."""
        given(store, create("b", 1), order("o"), wait("w", 1), order("another", 7), order("one-more", 7))
        given(store, cancel("o"), wait("w", 1))
        assert store.stock() == {"b": (1, 1)}
        assert [event.type for event in store.published()[-3:]] == ["deallocated.v1", *2 * ["allocated.v1"]]


class TestLinesLastAskedFirst:
    def lines(self, uow: UnitOfWork, batchref: str) -> list[str]:
        product = uow.products.get_by_batchref(batchref)
        assert product
        return [line.orderid for line in uow.products.lines_last_asked_first(product, batchref)]

    def test_a_batch_that_nobody_holds_has_none(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            assert self.lines(uow, "b") == []

    def test_the_last_asked_comes_first(self, store: Store) -> None:
        given(store, create("b", 10), order("one"), order("two"), order("three"))
        with store.unit_of_work() as uow:
            assert self.lines(uow, "b") == ["three", "two", "one"]

    def test_lines_of_other_batches_are_left_out(self, store: Store) -> None:
        given(store, create("a", 1), order("elsewhere"), create("b", 10), order("here"), order("gone"), cancel("gone"))
        given(store, create("z", 10, sku="VASE"), order("other", sku="VASE"))
        with store.unit_of_work() as uow:
            assert self.lines(uow, "b") == ["here"]

    def test_announcing_again_does_not_change_a_place(self, store: Store) -> None:
        given(store, create("b", 10), order("one"), order("two"), order("one"))
        with store.unit_of_work() as uow:
            assert self.lines(uow, "b") == ["two", "one"]

    def test_changes_of_the_same_transaction_count(self, store: Store) -> None:
        given(store, create("b", 10), order("one"), order("two"), order("three"))
        with store.unit_of_work() as uow:
            for command in (order("four"), cancel("two"), create("c", 1, sku="NEW"), order("x", sku="NEW")):
                BUS.handle(message(command), uow)
            assert self.lines(uow, "b") == ["four", "three", "one"]
            BUS.handle(message(cancel("four")), uow)
            assert self.lines(uow, "b") == ["three", "one"]

    def test_a_line_that_was_answered_again_keeps_its_place(self, store: Store) -> None:
        given(store, create("a", 3), order("one"), order("two"), order("early", 9), create("b", 9), order("late", 9))
        given(store, change("b", 0), create("c", 20), order("late", 9), order("early", 9), change("a", 1))
        with store.unit_of_work() as uow:
            assert self.lines(uow, "c") == ["late", "early", "two"]

    def test_the_place_of_a_line_that_was_answered_twice_in_one_transaction_is_kept(self, store: Store) -> None:
        given(store, create("a", 1))
        with store.unit_of_work() as uow:
            for command in (order("one", 2), create("b", 9), order("two", 2), order("one", 2)):
                BUS.handle(message(command), uow)
            uow.commit()
        with store.unit_of_work() as uow:
            assert self.lines(uow, "b") == ["two", "one"]

    def test_a_line_that_moved_in_the_same_transaction_is_with_its_new_batch(self, store: Store) -> None:
        given(store, create("a", 5), create("b", 5), order("one", 3), order("two", 2))
        with store.unit_of_work() as uow:
            BUS.handle(message(change("a", 3)), uow)
            assert self.lines(uow, "a") == ["one"]
            assert self.lines(uow, "b") == ["two"]

    def test_a_line_that_the_product_holds_is_that_line(self, store: Store) -> None:
        given(store, create("b", 10), order("one"), order("two"))
        with store.unit_of_work() as uow:
            uow.products.lock_for([order("one"), change("b", 10)])
            product = uow.products.get("LAMP")
            assert product
            held = product.lines["one", ""]
            assert held in list(uow.products.lines_last_asked_first(product, "b"))
            for line in uow.products.lines_last_asked_first(product, "b"):
                assert product.lines.get((line.orderid, line.lineid), line) is line

    def test_the_product_may_take_them_off_as_they_come(self, store: Store) -> None:
        given(store, create("b", 3), order("one"), order("two"), order("three"))
        with store.unit_of_work() as uow:
            product = uow.products.get_by_batchref("b")
            assert product
            product.change_batch_quantity("b", 1, uow.products.lines_last_asked_first(product, "b"))
            taken = [event.orderid for event in uow.collect_new_events() if isinstance(event, Deallocated)]
            assert taken == ["three", "two"]
            uow.commit()
        assert store.stock() == {"b": (1, 1)}
        with store.unit_of_work() as uow:
            assert self.lines(uow, "b") == ["one"]

    def test_there_may_be_thousands(self, store: Store) -> None:
        count = 2500
        given(store, create("b", count), *(order(f"o{number}") for number in range(count)), change("b", 100))
        assert store.stock() == {"b": (100, 100)}
        with store.unit_of_work() as uow:
            assert self.lines(uow, "b")[:3] == ["o99", "o98", "o97"]


class TestOutbox:
    def test_an_event_tells_what_caused_it(self, store: Store) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        process(store, message(create("b", 10), "cause", correlation_id="conversation", traceparent=trace))
        process(store, message(create("c", 10), "alone"))
        first, second = store.published()
        assert (first.causation_id, first.correlation_id, first.traceparent) == ("cause", "conversation", trace)
        assert (second.causation_id, second.correlation_id, second.traceparent) == ("alone", "alone", None)

    def test_an_event_is_told_in_full(self, store: Store) -> None:
        given(store, create("b", 10, eta=ETA))
        (event,) = store.published()
        assert (event.type, event.sku, event.sequence) == ("batch-created.v1", "LAMP", 1)
        assert event.body == {"batchref": "b", "sku": "LAMP", "qty": 10, "eta": "2026-01-01", "sequence": 1}

    def test_a_rejection_belongs_to_no_sku(self, store: Store) -> None:
        assert process(store, order("o", 3)) == [Done()]
        (event,) = store.published()
        assert (event.type, event.sku, event.sequence) == ("command-rejected.v1", None, None)
        assert (event.body["command"], event.body["reason"]) == ("allocate.v1", "unknown-sku")
        assert event.body["data"] == {"orderid": "o", "sku": "LAMP", "qty": 3, "lineid": ""}

    def test_each_products_events_come_in_their_order(self, store: Store) -> None:
        given(store, create("b", 10), create("c", 10, sku="VASE"))
        given(
            store, order("1"), order("1", sku="VASE"), order("2"), cancel("1"), order("2", sku="VASE"), change("b", 0)
        )
        for sku, count in (("LAMP", 7), ("VASE", 3)):
            assert [e.sequence for e in store.published() if e.sku == sku] == list(range(1, count + 1))

    def test_announced_again_an_event_has_the_same_id_and_body(self, store: Store) -> None:
        given(store, create("b", 10, eta=ETA), order("o", 3), order("p", 3))
        given(store, create("b", 10, eta=ETA), order("o", 3))
        created, allocated, _, created_again, allocated_again = store.published()
        for first, again in ((created, created_again), (allocated, allocated_again)):
            assert (first.message_id, first.body, first.sequence) == (again.message_id, again.body, again.sequence)
            assert first.causation_id != again.causation_id
            assert first.correlation_id != again.correlation_id

    def test_other_events_have_ids_of_their_own(self, store: Store) -> None:
        given(store, create("b", 2), create("c", 10, sku="VASE"), order("o"), order("o", sku="VASE"), order("p", 9))
        given(store, order("p", 9), cancel("o"), cancel("o"), change("b", 1), order("x", sku="?"), order("x", sku="?"))
        events = store.published()
        assert len({event.message_id for event in events}) == len(events) == 11

    def test_a_rolled_back_creation_does_not_decide_the_ids(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            BUS.handle(message(create("b", 10)), uow)
        given(store, create("b", 10))
        given(store, create("b", 10))
        first, again = store.published()
        assert first.message_id == again.message_id


class TestGroups:
    """What one message does, the next one of its group sees."""

    def test_allocate_deallocate_allocate_of_one_line(self, store: Store) -> None:
        given(store, create("b", 10))
        given(store, order("o", 3), cancel("o"), order("o", 3))
        assert briefly(store.published())[1:] == [
            "allocated.v1 o b",
            "deallocated.v1 o b cancelled",
            "command-rejected.v1 line-cancelled",
        ]
        assert store.lines() == {("o", "LAMP", "", 3, None, True)}
        assert store.stock() == {"b": (10, 0)}

    def test_a_line_cancelled_before_its_sku_is_known(self, store: Store) -> None:
        given(store, cancel("o"), order("o", 3), create("b", 10), order("o", 3))
        assert briefly(store.published()) == [
            "deallocated.v1 o cancelled",
            "command-rejected.v1 line-cancelled",
            "batch-created.v1 b",
            "command-rejected.v1 line-cancelled",
        ]

    def test_a_batch_created_and_changed(self, store: Store) -> None:
        given(store, create("b", 10), change("b", 4), change("b", 6))
        assert store.stock() == {"b": (6, 0)}

    def test_a_batch_changed_before_and_after_it_is_created(self, store: Store) -> None:
        given(store, change("b", 4), create("b", 10), change("b", 6))
        assert briefly(store.published()) == [
            "command-rejected.v1 unknown-batch",
            "batch-created.v1 b",
            "batch-quantity-changed.v1 b",
        ]

    def test_a_batch_reference_used_for_two_skus(self, store: Store) -> None:
        given(store, create("b", 10), create("b", 10, sku="VASE"), change("b", 1))
        assert briefly(store.published()) == [
            "batch-created.v1 b",
            "command-rejected.v1 batch-exists",
            "batch-quantity-changed.v1 b",
        ]
        assert store.stock() == {"b": (1, 0)}

    def test_a_batch_changed_then_created_for_two_skus(self, store: Store) -> None:
        given(store, change("b", 4), create("b", 10), create("b", 10, sku="VASE"))
        assert briefly(store.published())[1:] == ["batch-created.v1 b", "command-rejected.v1 batch-exists"]

    def test_a_batch_of_another_sku_that_exists_already(self, store: Store) -> None:
        given(store, create("b", 10), create("c", 1, sku="VASE"))
        given(store, create("b", 10, sku="VASE"))
        assert briefly(store.published())[2:] == ["command-rejected.v1 batch-exists"]

    def test_a_batch_that_is_used_up_is_known(self, store: Store) -> None:
        given(store, create("b", 1), order("o"))
        given(store, create("b", 1), create("b", 2), change("b", 2))
        assert briefly(store.published())[2:] == [
            "batch-created.v1 b",
            "command-rejected.v1 batch-exists",
            "batch-quantity-changed.v1 b",
        ]

    def test_stock_freed_by_one_message_goes_to_the_next(self, store: Store) -> None:
        given(store, create("b", 1), order("o"))
        given(store, cancel("o"), order("p"))
        assert store.lines() == {("o", "LAMP", "", 1, None, True), ("p", "LAMP", "", 1, "b", False)}

    def test_stock_that_grows_goes_to_the_next_order(self, store: Store) -> None:
        given(store, create("b", 1), order("o"))
        given(store, change("b", 2), order("p"))
        assert store.stock() == {"b": (2, 2)}

    def test_a_line_allocated_and_taken_off_in_one_group(self, store: Store) -> None:
        given(store, create("b", 5), order("o", 5), change("b", 4), create("c", 5), order("o", 5), change("c", 1))
        assert store.stock() == {"b": (4, 0), "c": (1, 0)}
        assert store.lines() == {("o", "LAMP", "", 5, None, False)}

    def test_a_repeat_has_no_effect_and_is_done(self, store: Store) -> None:
        given(store, create("b", 10))
        twice = message(order("o", 3))
        assert process(store, twice, twice) == [Done(), Done()]
        assert process(store, twice) == [Done()]
        assert len(store.published()) == 2

    def test_another_message_under_a_known_id_is_a_dead_letter(self, store: Store) -> None:
        given(store, create("b", 10))
        outcomes = process(store, message(order("o", 3), "a"), message(order("p", 3), "a"))
        assert outcomes[0] == Done()
        assert isinstance(outcomes[1], DeadLettered)
        assert outcomes[1].reason == "message-id-conflict"
        assert briefly(store.published())[1:] == ["allocated.v1 o b"]

    def test_a_message_to_be_retried_leaves_nothing_of_itself(self, store: Store) -> None:
        given(store, create("b", 10))
        early = message(order("o", sku="NEW"), "early")
        outcomes = process(store, early, message(order("o")), grace=3)
        assert outcomes == [Retry(after=1, attempts=1), Done()]
        assert "early" not in store.taken("early")
        given(store, create("new", 10, sku="NEW"))
        assert process(store, early) == [Done()]
        assert briefly(store.published())[-1] == "allocated.v1 o new"

    def test_a_refusal_changes_nothing(self, store: Store) -> None:
        given(store, create("b", 10), order("o", 3))
        with store.unit_of_work() as uow:
            for command in (order("o", 4), create("b", 11), change("?", 1), order("x", sku="?")):
                with pytest.raises(RefusalError):
                    BUS.handle(message(command), uow)
            assert uow.collect_new_events() == []
            uow.commit()
        assert store.stock() == {"b": (10, 3)}
        assert len(store.published()) == 2


@pytest.mark.parametrize("text", [*HOSTILE, ASTRAL, UNPRINTABLE])
def test_every_text_may_be_anything_the_contract_allows(store: Store, text: str) -> None:
    given(store, create(text, 10, sku=text), order(text, 3, sku=text, lineid=text))
    given(store, order(text, 3, sku=text, lineid=text), change(text, 2), change(text, 20), create(text, 10, sku=text))
    given(store, order(text, 3, sku=text, lineid=text), order("o", 3, sku=text), cancel(text, sku=text, lineid=text))
    assert store.stock() == {text: (20, 3)}
    assert store.lines() == {(text, text, text, 3, None, True), ("o", text, "", 3, text, False)}
    assert {event.sku for event in store.published()} == {text}


@pytest.mark.parametrize("text", [*HOSTILE, ASTRAL, UNPRINTABLE])
def test_every_refusal_can_be_told_whatever_the_names(store: Store, text: str) -> None:
    given(store, order(text, 3, sku=text, lineid=text), change(text, 3), create(text, 10, sku=text))
    given(store, order(text, 3, sku=text, lineid=text), order(text, 4, sku=text, lineid=text))
    given(store, create(text, 11, sku=text), cancel(text, sku=text, lineid=text))
    given(store, order(text, 3, sku=text, lineid=text))
    reasons = [event.body["reason"] for event in store.published() if event.type == "command-rejected.v1"]
    assert reasons == ["unknown-sku", "unknown-batch", "line-quantity-conflict", "batch-exists", "line-cancelled"]


def test_texts_that_differ_only_in_form_are_different(store: Store) -> None:
    names = ["straße", "strasse", "STRASSE", "e\u0301", "\u00e9", "a", "A", "a b", "a  b"]
    given(store, *(create(name, 10, sku=name) for name in names))
    given(store, *(order(name, 3, sku=name) for name in names))
    assert store.stock() == dict.fromkeys(names, (10, 3))


def test_the_largest_quantities_fit(store: Store) -> None:
    most = 2**31 - 1
    given(store, create("b", most), order("o", most), order("p", most), change("b", most))
    assert store.stock() == {"b": (most, most)}


def test_a_group_is_answered_as_its_messages_one_at_a_time(store: Store) -> None:
    """The random version of this is tests/integration/postgres/test_model_against_reality.py."""
    commands: list[Command] = [
        change("b", 1),
        create("b", 10, eta=ETA),
        order("1", 4),
        order("1", 4),
        order("1", 5),
        create("c", 3),
        order("2", 4),
        cancel("1"),
        order("3", 3),
        order("4", 3),
        change("b", 5),
        order("5", 1, sku="VASE"),
        cancel("5", sku="VASE"),
        create("v", 1, sku="VASE"),
        order("5", 1, sku="VASE"),
        order("6", 1, sku="VASE"),
        create("b", 10, eta=ETA),
    ]
    messages = [message(command) for command in commands]
    one_at_a_time = MemoryStore()
    expected = [process(one_at_a_time, each) for each in messages]
    assert process(store, *messages) == [outcome for (outcome,) in expected]
    assert [(e.type, e.body, e.causation_id) for e in store.published()] == [
        (e.type, e.body, e.causation_id) for e in one_at_a_time.published()
    ]
    assert store.stock() == one_at_a_time.stock()
    assert store.lines() == one_at_a_time.lines()


class TestLockedByOthers:
    def test_a_product_that_another_transaction_holds_is_told_without_waiting(self, store: Store) -> None:
        given(store, create("l", 1), create("v", 1, sku="VASE"))
        with store.unit_of_work() as holder:
            holder.products.lock_for([order("o")])
            found = []
            for _ in range(2):
                with store.unit_of_work() as uow:
                    found.append(uow.products.locked_by_others({"LAMP", "VASE", "unknown"}))
        [[first], [second]] = found
        assert first.sku == "LAMP"
        assert first == second

    def test_another_transaction_has_another_lock(self, store: Store) -> None:
        given(store, create("l", 1))
        locks = set()
        for _ in range(2):
            with store.unit_of_work() as holder, store.unit_of_work() as uow:
                holder.products.lock_for([order("o")])
                locks |= {product.lock for product in uow.products.locked_by_others({"LAMP"})}
        assert len(locks) == 2

    def test_a_product_that_nobody_holds_any_more_is_free(self, store: Store) -> None:
        given(store, create("l", 1))
        with store.unit_of_work() as holder:
            holder.products.lock_for([order("o")])
        with store.unit_of_work() as uow:
            assert uow.products.locked_by_others({"LAMP"}) == []

    def test_an_impatient_lock_ends_soon_and_says_that_it_was_a_lock(self, store: Store) -> None:
        given(store, create("l", 1))
        with store.unit_of_work() as holder, store.unit_of_work() as uow:
            holder.products.lock_for([order("o")])
            began = monotonic()
            with pytest.raises(StoreLockTimeoutError):
                uow.products.lock_for([order("o")], patient=False)
            assert monotonic() - began < 3

    def test_a_group_goes_on_without_the_product_and_takes_it_up_later(self, store: Store) -> None:
        given(store, create("l", 5), create("v", 5, sku="VASE"))
        held, free = message(order("1")), message(order("2", sku="VASE"))
        with store.unit_of_work() as holder:
            holder.products.lock_for([order("o")])
            outcomes = process(store, held, free, message(change("l", 4)))
            assert [isinstance(outcome, SetAside) for outcome in outcomes] == [True, False, True]
        assert store.stock() == {"l": (5, 0), "v": (5, 1)}
        assert process(store, held) == [Done()]
        assert store.stock() == {"l": (5, 1), "v": (5, 1)}

    def test_the_skus_of_batches(self, store: Store) -> None:
        given(store, create("l", 1), create("v", 1, sku="VASE"))
        with store.unit_of_work() as uow:
            assert uow.products.skus_of_batches({"l", "v", "unknown"}) == {"l": "LAMP", "v": "VASE"}


def test_after_a_restored_backup_old_and_new_products_go_on_from_its_sequence(store: Store) -> None:
    given(store, create("b", 10), order("o"))
    from_ = store.restored()
    given(store, order("p"), create("c", 10, sku="SOFA"), order("q", sku="SOFA"))
    numbers = [(event.sku, event.sequence) for event in store.published()]
    assert numbers == [("LAMP", 1), ("LAMP", 2), ("LAMP", from_ + 1), ("SOFA", from_ + 1), ("SOFA", from_ + 2)]


def hold(orderid: str, qty: int, until: datetime = LONG_AGO) -> Hold:
    return Hold(orderid=orderid, sku="LAMP", qty=qty, until=until, message_id=f"{orderid} until {until:%H}")


def end_hold(store: Store, orderid: str, until: datetime = LONG_AGO) -> None:
    """As the process that ends holds does."""
    with store.unit_of_work() as uow:
        BUS.handle(message(LapseHold(orderid=orderid, sku="LAMP", message_id=f"{orderid} until {until:%H}")), uow)
        uow.commit()


class TestHolds:
    def test_stock_is_held_and_confirmed(self, store: Store) -> None:
        given(store, create("b", 5), hold("o", 3))
        given(store, order("o", 3))
        end_hold(store, "o")
        assert [event.type for event in store.published()][1:] == ["held.v1", "allocated.v1"]
        assert store.stock() == {"b": (5, 3)}

    def test_a_hold_lapses_once_and_those_that_wait_are_served(self, store: Store) -> None:
        given(store, create("b", 5), hold("o", 3), wait("w", 4))
        end_hold(store, "o")
        end_hold(store, "o")
        told = [(event.type, event.causation_id) for event in store.published()][3:]
        cause = hold("o", 3).message_id
        assert told == [("hold-lapsed.v1", cause), ("allocated.v1", cause)]
        assert store.lines() == {("w", "LAMP", "", 4, "b", False)}

    def test_a_line_is_blank_after_its_hold_and_may_be_held_again(self, store: Store) -> None:
        given(store, create("b", 5), hold("o", 3), order("later", 1))
        end_hold(store, "o")
        given(store, hold("o", 4, LONG_AGO + timedelta(hours=1)))
        given(store, change("b", 4))
        assert [event.type for event in store.published()][-2:] == ["batch-quantity-changed.v1", "hold-lapsed.v1"]

    def test_a_hold_that_was_prolonged_does_not_lapse_at_its_first_time(self, store: Store) -> None:
        given(store, create("b", 5), hold("o", 3))
        given(store, hold("o", 5, LONG_AGO + timedelta(hours=1)))
        end_hold(store, "o")
        assert store.stock() == {"b": (5, 5)}

    def test_held_lines_are_the_first_that_a_shrink_takes_off(self, store: Store) -> None:
        given(store, create("b", 6), hold("h1", 1), order("o1", 1), hold("h2", 1), order("o2", 1))
        given(store, create("c", 1), change("b", 2))
        told = [(event.type, event.body.get("orderid")) for event in store.published()][-3:]
        assert told == [("batch-quantity-changed.v1", None), ("held.v1", "h1"), ("hold-lapsed.v1", "h2")]
        assert store.stock() == {"b": (2, 2), "c": (1, 1)}

    def test_no_hold_is_longer_than_the_longest(self, store: Store) -> None:
        given(store, create("b", 5), hold("o", 3, datetime.max.replace(tzinfo=UTC)))
        with store.unit_of_work() as uow:
            assert datetime.fromisoformat(store.published()[-1].body["until"]) <= uow.latest_hold()
