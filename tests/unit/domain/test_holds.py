"""Stock is held for a line until a time: nobody waits for it, and nobody is displaced by it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Hold,
    LapseHold,
    Ship,
)
from allocation_worker.domain.errors import (
    LineCancelledError,
    LineNotAllocatedError,
    LineQuantityConflictError,
    LineShippedError,
    NotEnoughStockError,
    UnknownLineError,
    UnknownSkuError,
)
from tests.unit.domain.shop import LATER, SOON, Shop, cancel, create, order, wait

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ONE = datetime(2030, 1, 1, 13, tzinfo=UTC)


def hold(orderid: str, qty: int, until: datetime = NOON) -> Hold:
    return Hold(orderid=orderid, sku="LAMP", qty=qty, until=until, message_id=f"{orderid} until {until:%H}")


def lapse(orderid: str, until: datetime = NOON) -> LapseHold:
    """End the hold of an order that was asked for until this time."""
    return LapseHold(orderid=orderid, sku="LAMP", message_id=f"{orderid} until {until:%H}")


@pytest.fixture
def shop() -> Shop:
    """A batch of 5, of which 3 are held for A."""
    shop = Shop()
    shop(create("b1", 5), hold("A", 3))
    return shop


def test_stock_that_is_held_is_nobody_elses(shop: Shop) -> None:
    assert shop(order("B", 3)) == [("out-of-stock", "B", None)]
    assert shop.database.stock() == {"b1": (5, 3)}


def test_the_event_says_until_when(shop: Shop) -> None:
    held = shop.database.published()[-1].body
    assert (held["qty"], held["batchref"], held["until"]) == (3, "b1", "2030-01-01T12:00:00Z")


def test_what_cannot_be_held_is_out_of_stock_and_does_not_wait(shop: Shop) -> None:
    assert shop(hold("B", 3)) == [("out-of-stock", "B", None)]
    assert shop(create("b2", 9)) == [("batch-created", "", "b2")]


def test_no_hold_is_longer_than_the_longest(shop: Shop) -> None:
    shop.database.hold_limit = timedelta(minutes=30)
    shop(hold("B", 1, ONE))
    assert shop.database.published()[-1].body["until"] == "2030-01-01T00:30:00Z"


def test_an_unknown_sku_is_refused() -> None:
    with pytest.raises(UnknownSkuError, match="then hold again"):
        Shop()(hold("A", 1))


class TestConfirming:
    def test_allocate_takes_the_held_stock(self, shop: Shop) -> None:
        shop(create("b0", 9))
        assert shop(order("A", 3)) == [("allocated", "A", "b1")]
        assert shop(lapse("A")) == []
        assert shop.database.stock() == {"b1": (5, 3), "b0": (9, 0)}

    def test_another_quantity_is_refused_and_the_hold_stays(self, shop: Shop) -> None:
        with pytest.raises(LineQuantityConflictError, match="holds 3 already, not 2; hold that quantity first"):
            shop(order("A", 2))
        assert shop(order("A", 3)) == [("allocated", "A", "b1")]

    def test_a_batch_that_comes_too_late_for_the_order_is_left(self) -> None:
        shop = Shop()
        shop(create("late", 5, LATER), hold("A", 3), wait("w", 5), create("soon", 3, SOON))
        confirmed = shop(Allocate(orderid="A", sku="LAMP", qty=3, needed_by=SOON))
        assert confirmed == [("allocated", "A", "soon"), ("allocated", "w", "late")]

    def test_once_allocated_a_hold_of_the_line_announces_it_again(self, shop: Shop) -> None:
        shop(order("A", 3))
        assert shop(hold("A", 3, ONE)) == [("allocated", "A", "b1")]
        with pytest.raises(LineQuantityConflictError):
            shop(hold("A", 2))

    def test_the_last_piece_is_not_sold_twice(self) -> None:
        shop = Shop()
        shop(create("b1", 1), hold("A", 1))
        shop(lapse("A"), hold("B", 1), order("B", 1))
        assert shop(order("A", 1)) == [("out-of-stock", "A", None)]


class TestHoldingAgain:
    def test_its_own_stock_counts_as_free(self, shop: Shop) -> None:
        assert shop(hold("A", 5)) == [("held", "A", "b1")]
        assert shop.database.stock() == {"b1": (5, 5)}

    def test_it_is_prolonged(self, shop: Shop) -> None:
        assert shop(hold("A", 3, ONE)) == [("held", "A", "b1")]
        assert shop(lapse("A", NOON)) == []
        assert shop(lapse("A", ONE)) == [("hold-lapsed", "A", "b1")]

    def test_another_hold_until_the_same_time_lapses_in_the_name_of_its_own_message(self, shop: Shop) -> None:
        shop(replace(hold("A", 2), message_id="another"))
        assert shop(lapse("A")) == []
        assert shop(replace(lapse("A"), message_id="another")) == [("hold-lapsed", "A", "b1")]

    def test_the_same_again_is_announced_again(self, shop: Shop) -> None:
        shop(hold("A", 3))
        first, second = shop.database.published()[-2:]
        assert (first.message_id, first.body) == (second.message_id, second.body)

    def test_less_frees_stock_for_those_that_wait(self, shop: Shop) -> None:
        shop(wait("w", 4))
        assert shop(hold("A", 1)) == [("held", "A", "b1"), ("allocated", "w", "b1")]

    def test_more_moves_to_a_batch_that_has_all_of_it(self, shop: Shop) -> None:
        shop(create("b2", 9))
        assert shop(hold("A", 6)) == [("held", "A", "b2")]
        assert shop.database.stock() == {"b1": (5, 0), "b2": (9, 6)}

    def test_more_than_any_batch_has_is_refused_and_the_hold_stays(self, shop: Shop) -> None:
        with pytest.raises(NotEnoughStockError, match="keeps 3 until 2030-01-01T12:00:00Z"):
            shop(hold("A", 6))
        assert shop(lapse("A")) == [("hold-lapsed", "A", "b1")]

    def test_its_quantity_may_be_changed_and_it_lapses_all_the_same(self, shop: Shop) -> None:
        change = ChangeLineQuantity(orderid="A", sku="LAMP", qty=2)
        assert shop(change) == [("line-quantity-changed", "A", "b1")]
        assert shop(lapse("A")) == [("hold-lapsed", "A", "b1")]


class TestLapsing:
    def test_it_serves_those_that_wait(self, shop: Shop) -> None:
        shop(wait("w", 5))
        assert shop(lapse("A")) == [("hold-lapsed", "A", "b1"), ("allocated", "w", "b1")]

    def test_it_lapses_once(self, shop: Shop) -> None:
        shop(lapse("A"))
        assert shop(lapse("A")) == []

    def test_the_line_is_blank_then(self, shop: Shop) -> None:
        shop(order("B", 2), lapse("A"))
        with pytest.raises(UnknownLineError):
            shop(ChangeLineQuantity(orderid="A", sku="LAMP", qty=1))
        assert shop(order("A", 1)) == [("allocated", "A", "b1")]
        assert shop(ChangeBatchQuantity(batchref="b1", qty=2))[1] == ("deallocated", "A", "b1")

    def test_the_message_that_asked_for_it_is_the_cause(self, shop: Shop) -> None:
        line = shop.database.committed.products["LAMP"].lines["A", ""]
        assert line.hold
        assert line.hold.message_id == shop.database.published()[-1].causation_id

    def test_a_line_that_was_cancelled_has_nothing_to_lapse(self, shop: Shop) -> None:
        assert shop(cancel("A")) == [("deallocated", "A", "b1")]
        assert shop(lapse("A")) == []
        with pytest.raises(LineCancelledError):
            shop(hold("A", 1))


class TestBatches:
    def test_held_lines_are_the_first_victims(self) -> None:
        shop = Shop()
        shop(create("b1", 5), hold("A", 3), order("B", 2))
        shrunk = shop(ChangeBatchQuantity(batchref="b1", qty=4))
        assert shrunk == [("batch-quantity-changed", "", "b1"), ("hold-lapsed", "A", "b1")]
        assert shop.database.stock() == {"b1": (4, 2)}

    def test_a_victim_is_held_of_another_batch_until_the_same_time(self, shop: Shop) -> None:
        shop(create("b2", 3))
        assert shop(ChangeBatchQuantity(batchref="b1", qty=0))[1:] == [("held", "A", "b2")]
        assert shop.database.published()[-1].body["until"] == "2030-01-01T12:00:00Z"

    def test_what_was_promised_looks_for_stock_before_what_was_held(self, shop: Shop) -> None:
        shop(order("B", 2), create("b2", 3, LATER))
        shrunk = shop(ChangeBatchQuantity(batchref="b1", qty=0))
        assert shrunk[1:] == [("deallocated", "B", "b1"), ("allocated", "B", "b2"), ("hold-lapsed", "A", "b1")]

    def test_it_is_told_of_another_day_and_stays_held(self) -> None:
        shop = Shop()
        shop(create("b1", 5, SOON), hold("A", 3))
        assert shop(ChangeBatchEta(batchref="b1", eta=LATER))[1:] == [("promise-changed", "A", "b1")]
        assert shop(hold("A", 3)) == [("promise-changed", "A", "b1")]
        assert shop(lapse("A")) == [("hold-lapsed", "A", "b1")]


class TestOtherLines:
    def test_what_is_only_held_is_not_shipped(self, shop: Shop) -> None:
        with pytest.raises(LineNotAllocatedError, match="Stock is only held for line"):
            shop(Ship(orderid="A", sku="LAMP"))

    def test_a_shipped_line_cannot_be_held(self, shop: Shop) -> None:
        shop(order("A", 3), Ship(orderid="A", sku="LAMP"))
        with pytest.raises(LineShippedError):
            shop(hold("A", 3))

    def test_a_line_that_waits_leaves_the_queue(self, shop: Shop) -> None:
        shop(wait("w", 4))
        assert shop(hold("w", 4)) == [("out-of-stock", "w", None)]
        assert shop(lapse("A")) == [("hold-lapsed", "A", "b1")]
