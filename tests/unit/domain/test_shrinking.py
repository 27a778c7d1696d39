"""A batch that shrinks below its allocated quantity frees lines, and each is allocated again or out of stock."""

import pytest

from allocation_worker.domain.commands import ChangeBatchQuantity, Deallocate
from tests.unit.domain.shop import Shop, create, order


@pytest.fixture
def shop() -> Shop:
    """One batch of 10, with three lines on it: 5, then 3, then 2."""
    shop = Shop()
    shop(create("batch", 10), order("first", 5), order("second", 3), order("third", 2))
    return shop


def shrink(shop: Shop, qty: int, batchref: str = "batch") -> list[tuple[str, str, str | None]]:
    return shop(ChangeBatchQuantity(batchref=batchref, qty=qty))


def test_takes_no_line_off_that_fits(shop: Shop) -> None:
    shop(Deallocate(orderid="third", sku="LAMP"))
    assert shrink(shop, 8) == [("batch-quantity-changed", "", "batch")]
    assert shop.database.stock() == {"batch": (8, 8)}


def test_takes_the_last_asked_line_off_first(shop: Shop) -> None:
    assert shrink(shop, 8) == [
        ("batch-quantity-changed", "", "batch"),
        ("deallocated", "third", "batch"),
        ("out-of-stock", "third", None),
    ]


def test_takes_off_no_more_than_needed(shop: Shop) -> None:
    assert shrink(shop, 5) == [
        ("batch-quantity-changed", "", "batch"),
        ("deallocated", "third", "batch"),
        ("deallocated", "second", "batch"),
        ("out-of-stock", "second", None),
        ("out-of-stock", "third", None),
    ]
    assert shop.database.stock() == {"batch": (5, 5)}


def test_a_line_moves_to_another_batch_if_it_fits(shop: Shop) -> None:
    shop(create("spare", 2))
    assert shrink(shop, 5)[3:] == [("out-of-stock", "second", None), ("allocated", "third", "spare")]


def test_the_first_asked_looks_for_stock_first() -> None:
    shop = Shop()
    shop(create("b1", 10), create("b2", 5), order("first", 5), order("second", 5))
    assert shrink(shop, 0, "b1")[3:] == [("allocated", "first", "b2"), ("out-of-stock", "second", None)]


def test_a_line_may_go_back_into_the_shrunk_batch(shop: Shop) -> None:
    assert shrink(shop, 7) == [
        ("batch-quantity-changed", "", "batch"),
        ("deallocated", "third", "batch"),
        ("deallocated", "second", "batch"),
        ("out-of-stock", "second", None),
        ("allocated", "third", "batch"),
    ]
    assert shop.database.stock() == {"batch": (7, 7)}


def test_takes_all_lines_off_a_batch_that_is_lost(shop: Shop) -> None:
    shop(create("spare", 100))
    shrink(shop, 0)
    assert shop.database.stock() == {"batch": (0, 0), "spare": (100, 10)}


def test_a_line_that_was_moved_keeps_its_place(shop: Shop) -> None:
    shop(create("spare", 5), order("fourth", 3))
    shrink(shop, 8)  # the third line goes to the spare batch, after the fourth
    assert shrink(shop, 4, "spare")[1] == ("deallocated", "fourth", "spare")


def test_a_line_that_was_out_of_stock_first_keeps_the_place_of_that_answer() -> None:
    shop = Shop()
    shop(create("b1", 1), order("early", 2), create("b2", 4), order("late", 2), order("early", 2))
    assert shrink(shop, 2, "b2")[1] == ("deallocated", "late", "b2")


def test_a_line_that_lost_its_stock_is_not_cancelled(shop: Shop) -> None:
    shrink(shop, 8)
    shop(create("spare", 2))
    assert shop(order("third", 2)) == [("allocated", "third", "spare")]


def test_a_line_that_was_moved_is_announced_again_as_it_stands_now(shop: Shop) -> None:
    shop(create("spare", 2))
    shrink(shop, 8)
    moved = shop.database.published()[-1]
    assert shop(order("third", 2)) == [("allocated", "third", "spare")]
    again = shop.database.published()[-1]
    assert (again.message_id, again.body) == (moved.message_id, moved.body)


def test_the_events_are_counted_in_their_order(shop: Shop) -> None:
    shrink(shop, 0)
    assert [event.sequence for event in shop.database.published()] == list(range(1, 12))


def test_every_event_of_a_shrink_names_the_command_that_caused_it(shop: Shop) -> None:
    before = len(shop.database.published())
    shrink(shop, 0)
    assert len({event.causation_id for event in shop.database.published()[before:]}) == 1
