"""The quantity of a line is set: less frees stock, more is taken from one batch or refused."""

import pytest

from allocation_worker.domain.commands import ChangeLineQuantity, Ship
from allocation_worker.domain.errors import (
    LineCancelledError,
    LineQuantityConflictError,
    LineShippedError,
    NotEnoughStockError,
    UnknownLineError,
)
from tests.unit.domain.shop import LATER, SOON, Shop, cancel, create, order, wait


def change(orderid: str, qty: int, from_qty: int | None = None) -> ChangeLineQuantity:
    return ChangeLineQuantity(orderid=orderid, sku="LAMP", qty=qty, from_qty=from_qty)


@pytest.fixture
def shop() -> Shop:
    """A batch of 5: A has 3 of it, and B 2."""
    shop = Shop()
    shop(create("b1", 5), order("A", 3), order("B", 2))
    return shop


def test_less_stays_and_frees_stock_for_those_that_wait(shop: Shop) -> None:
    shop(wait("w", 2))
    assert shop(change("A", 1)) == [("line-quantity-changed", "A", "b1"), ("allocated", "w", "b1")]


def test_more_stays_if_its_batch_has_room(shop: Shop) -> None:
    shop(cancel("B"), create("b2", 9))
    assert shop(change("A", 5)) == [("line-quantity-changed", "A", "b1")]
    assert shop.database.stock() == {"b1": (5, 5), "b2": (9, 0)}


def test_more_moves_to_a_batch_that_can_take_all_of_it_and_leaves_its_stock_to_those_that_wait(shop: Shop) -> None:
    shop(create("b2", 9, LATER), wait("w", 3, needed_by=SOON))
    assert shop(change("A", 4)) == [("line-quantity-changed", "A", "b2"), ("allocated", "w", "b1")]


def test_more_than_any_batch_has_is_refused_and_nothing_changes(shop: Shop) -> None:
    with pytest.raises(NotEnoughStockError):
        shop(change("A", 4))
    assert shop.database.stock() == {"b1": (5, 5)}
    assert shop(order("A", 3)) == [("allocated", "A", "b1")]


def test_the_same_quantity_is_announced_again_as_the_line_was_answered_last(shop: Shop) -> None:
    assert shop(change("A", 3)) == [("allocated", "A", "b1")]
    shop(change("A", 2))
    assert shop(change("A", 2), order("A", 2)) == 2 * [("line-quantity-changed", "A", "b1")]


def test_the_quantity_that_the_sender_knows_is_compared(shop: Shop) -> None:
    with pytest.raises(LineQuantityConflictError, match="has the quantity 3 by now, not 2"):
        shop(change("A", 1, from_qty=2))
    assert shop(change("A", 1, from_qty=3)) == [("line-quantity-changed", "A", "b1")]


class TestWaiting:
    def test_less_keeps_the_place(self, shop: Shop) -> None:
        shop(wait("w1", 4), wait("w2", 2))
        assert shop(change("w1", 2)) == [("line-quantity-changed", "w1", None)]
        assert shop(cancel("B"))[1:] == [("allocated", "w1", "b1")]

    def test_less_may_fit(self, shop: Shop) -> None:
        shop(create("b2", 1), wait("w", 4))
        assert shop(change("w", 1)) == [("line-quantity-changed", "w", "b2")]

    def test_more_takes_a_new_place(self, shop: Shop) -> None:
        shop(wait("w1", 1), wait("w2", 2))
        shop(change("w1", 2))
        assert shop(cancel("B"))[1:] == [("allocated", "w2", "b1")]


def test_a_line_out_of_stock_has_another_quantity_and_no_stock(shop: Shop) -> None:
    shop(order("o", 9))
    assert shop(change("o", 8), change("o", 8)) == 2 * [("line-quantity-changed", "o", None)]


@pytest.mark.parametrize(
    ("orderid", "refusal"), [("gone", LineCancelledError), ("B", LineShippedError), ("never", UnknownLineError)]
)
def test_a_line_that_is_gone_or_was_never_there_is_refused(shop: Shop, orderid: str, refusal: type[Exception]) -> None:
    shop(cancel("gone"), Ship(orderid="B", sku="LAMP"))
    with pytest.raises(refusal):
        shop(change(orderid, 1))
