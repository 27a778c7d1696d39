"""The contract of the store for lines that wait, lose their stock, or are held, for the fake and for PostgreSQL."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from allocation_worker.domain import model
from allocation_worker.domain.commands import Hold, LapseHold
from allocation_worker.domain.events import Backordered, Deallocated
from allocation_worker.domain.lines import Terms
from allocation_worker.service_layer.ports import UnitOfWork
from tests.contract.conftest import Store
from tests.contract.groups import BUS, briefly, cancel, change, create, given, order, process, wait
from tests.fakes.messages import message

ETA = date(2026, 1, 1)
LONG_AGO = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def store(store_for_groups: Store) -> Store:
    return store_for_groups


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
            assert (line.terms, line.waits, product.queue.smallest) == (
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

    def test_they_are_served_from_the_beginning_also_after_a_refusal_in_the_same_group(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The refused command has taken up the product as well: its queue was served twice, the second time in part."""
        for name in ("FIRST_SERVED", "AT_A_TIME"):
            monkeypatch.setattr(model, name, 2)
        given(store, create("b", 1), order("holds"), *(wait(f"w{number}", needed_by=ETA) for number in (1, 2, 3)))
        process(store, create("b", 2), create("too-late", 5, eta=ETA + timedelta(days=1)), create("here", 1))
        assert briefly(store.published())[-1] == "allocated.v1 w1 here"


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
            assert datetime.fromisoformat(store.published()[-1].body["until"]) <= uow.hold_limit_from_now()
