"""Lines that wait for stock, and who is served when some is freed."""

from datetime import date

import pytest

from allocation_worker.domain.commands import ChangeBatchQuantity, Command
from allocation_worker.domain.model import AT_A_TIME
from tests.unit.domain.shop import LATER, SOON, Shop, cancel, create, order, wait


def change(batchref: str, qty: int) -> ChangeBatchQuantity:
    return ChangeBatchQuantity(batchref=batchref, qty=qty)


@pytest.fixture
def shop() -> Shop:
    """One batch of 1, which a line holds."""
    shop = Shop()
    shop(create("b1", 1), order("x", 1))
    return shop


def test_a_line_that_no_batch_can_take_waits(shop: Shop) -> None:
    assert shop(wait("w", 2)) == [("backordered", "w", None)]


def test_without_the_wish_to_wait_it_is_out_of_stock(shop: Shop) -> None:
    assert shop(order("o", 2), create("b2", 2)) == [("out-of-stock", "o", None), ("batch-created", "", "b2")]


@pytest.mark.parametrize(
    "frees",
    [create("b2", 1), cancel("x"), change("b1", 2)],
    ids=["a new batch", "a cancellation", "a batch that grows"],
)
def test_each_command_that_frees_stock_serves_a_line_that_waits(shop: Shop, frees: Command) -> None:
    shop(wait("w", 1))
    assert shop(frees)[1][:2] == ("allocated", "w")


def test_what_a_shrink_leaves_over_serves_a_line_that_waits() -> None:
    shop = Shop()
    shop(create("b1", 5), order("big", 4), wait("w", 2))
    assert shop(change("b1", 3)) == [
        ("batch-quantity-changed", "", "b1"),
        ("deallocated", "big", "b1"),
        ("out-of-stock", "big", None),
        ("allocated", "w", "b1"),
    ]


def test_a_victim_that_waits_queues_at_its_old_place() -> None:
    shop = Shop()
    shop(create("b1", 2), wait("first", 2), wait("second", 2))
    assert shop(change("b1", 0))[1:] == [("deallocated", "first", "b1"), ("backordered", "first", None)]
    assert shop(create("b2", 2), create("b3", 2))[1::2] == [("allocated", "first", "b2"), ("allocated", "second", "b3")]


def test_all_that_fit_are_served_at_once_and_in_order(shop: Shop) -> None:
    shop(wait("w1", 1), wait("w2", 2))
    assert shop(create("b2", 3)) == [
        ("batch-created", "", "b2"),
        ("allocated", "w1", "b2"),
        ("allocated", "w2", "b2"),
    ]


def test_a_line_that_does_not_fit_is_passed_over_and_keeps_its_place(shop: Shop) -> None:
    shop(wait("w1", 10), wait("w2", 3))
    assert shop(create("b2", 5))[1:] == [("allocated", "w2", "b2")]
    assert shop(create("b3", 12))[1:] == [("allocated", "w1", "b3")]


def test_the_higher_priority_is_served_first(shop: Shop) -> None:
    shop(wait("early", 1), wait("urgent", 1, priority=1))
    assert shop(cancel("x"))[1:] == [("allocated", "urgent", "b1")]


class TestNeededBy:
    def test_a_batch_that_comes_later_is_not_for_the_line(self, shop: Shop) -> None:
        shop(create("later", 5, LATER))
        assert shop(order("o", 1, needed_by=SOON)) == [("out-of-stock", "o", None)]
        assert shop.database.published()[-1].body["largest_available"] == 0

    def test_one_that_comes_on_the_day_is(self, shop: Shop) -> None:
        shop(create("later", 5, LATER))
        assert shop(order("o", 1, needed_by=LATER)) == [("allocated", "o", "later")]

    def test_the_warehouse_always_is(self, shop: Shop) -> None:
        shop(create("shelf", 5))
        assert shop(order("o", 1, needed_by=date.min)) == [("allocated", "o", "shelf")]

    def test_a_line_that_waits_lets_others_have_what_comes_too_late(self, shop: Shop) -> None:
        shop(wait("w1", 1, needed_by=SOON), wait("w2", 1))
        assert shop(create("later", 2, LATER))[1:] == [("allocated", "w2", "later")]


class TestAskedAgain:
    def test_for_the_same_it_is_announced_again_as_it_was(self, shop: Shop) -> None:
        shop(create("b2", 1))
        shop(wait("w", 2), order("y", 1))  # takes what was told as available
        told = shop.database.published()[-2]
        shop(wait("w", 2))
        again = shop.database.published()[-1]
        assert (again.message_id, again.body) == (told.message_id, told.body)
        assert again.causation_id != told.causation_id

    def test_for_less_it_keeps_its_place(self, shop: Shop) -> None:
        shop(wait("w1", 3), wait("w2", 1))
        assert shop(wait("w1", 1)) == [("backordered", "w1", None)]
        assert shop(cancel("x"))[1:] == [("allocated", "w1", "b1")]

    def test_for_less_it_may_fit(self, shop: Shop) -> None:
        shop(create("b2", 1), wait("w", 2))
        assert shop(wait("w", 1)) == [("allocated", "w", "b2")]

    def test_for_more_it_takes_a_new_place(self, shop: Shop) -> None:
        shop(wait("w1", 1), wait("w2", 2), wait("w1", 2))
        assert shop(create("b2", 2))[1:] == [("allocated", "w2", "b2")]

    def test_without_the_wish_to_wait_it_leaves_the_queue(self, shop: Shop) -> None:
        shop(wait("w", 1))
        assert shop(order("w", 1)) == [("out-of-stock", "w", None)]
        assert shop(cancel("x")) == [("deallocated", "x", "b1")]

    def test_a_line_that_was_served_is_announced_again_as_allocated(self, shop: Shop) -> None:
        shop(wait("w", 1), cancel("x"))
        assert shop(wait("w", 1)) == [("allocated", "w", "b1")]


def test_lowering_and_cancelling_a_line_that_waits_frees_nothing(shop: Shop) -> None:
    shop(wait("w1", 1), wait("w2", 2), wait("w2", 1))
    assert shop(cancel("w2")) == [("deallocated", "w2", None)]
    assert shop.database.stock() == {"b1": (1, 1)}


def test_more_lines_than_are_served_at_a_time_are_served_by_one_command(shop: Shop) -> None:
    count = 2 * AT_A_TIME + 1
    shop.together(*(wait(f"w{number}", 1 + number % 2) for number in range(count)))
    served = shop(create("b2", 10 * count))[1:]
    assert served == [("allocated", f"w{number}", "b2") for number in range(count)]


def test_lines_that_are_passed_over_do_not_end_the_pass(shop: Shop) -> None:
    """More of them than are served at a time."""
    shop.together(*(wait(f"w{number}", 1, needed_by=SOON) for number in range(AT_A_TIME + 1)), wait("last", 1))
    assert shop(create("later", 5, LATER))[1:] == [("allocated", "last", "later")]
