"""The demo's projection of the events."""

from datetime import date

import pytest

import allocation_contracts as contracts
from demo.shop import Shop, moves_in
from tests.unit.demo.demo_events import (
    allocated,
    backordered,
    cancelled,
    comes,
    created,
    out_of_stock,
    promised,
    received,
    shipped,
    shrunk,
    taken_off,
)

SOON, LATER = date(2030, 1, 1), date(2030, 6, 1)


def shop_after(*events: contracts.Event) -> Shop:
    shop = Shop()
    for event in events:
        shop.take(received(event))
    return shop


def test_what_is_allocated_is_no_longer_available() -> None:
    shop = shop_after(created("shelf", 10), allocated("o1", "shelf", 3), allocated("o2", "shelf", 2))
    assert (shop.batches["shelf"].allocated, shop.batches["shelf"].available) == (5, 5)


def test_what_is_cancelled_is_available_again() -> None:
    shop = shop_after(created("shelf", 10), allocated("o1", "shelf", 3), cancelled("o1", "shelf", 3))
    assert shop.batches["shelf"].available == 10
    assert not shop.held


def test_cancelling_a_line_without_stock_frees_none() -> None:
    assert shop_after(created("shelf", 10), cancelled("o1", None, 0)).batches["shelf"].available == 10


def test_an_event_that_comes_twice_counts_once() -> None:
    shop = shop_after(created("shelf", 10))
    for cause in ("first", "first", "again"):
        shop.take(received(allocated("o1", "shelf", 3), message_id="the-same", cause=cause))
    assert shop.batches["shelf"].allocated == 3
    assert len(shop.latest) == 2


def test_an_event_that_is_announced_again_answers_the_second_command_too() -> None:
    shop = Shop()
    for cause in ("first", "again"):
        shop.take(received(created("shelf", 10), message_id="the-same", cause=cause))
    assert shop.caused == {"first", "again"}


def test_the_events_of_one_command_are_one_answer() -> None:
    shop = shop_after(created("ship", 10), allocated("o1", "ship", 6), shrunk("ship", 10, 5))
    assert shop.caused == {"a-command"}


def test_a_shop_is_not_settled_until_every_line_that_moved_has_a_place_or_none() -> None:
    shop = shop_after(created("ship", 10), created("shelf", 6), allocated("o1", "ship", 6), allocated("o2", "ship", 4))
    assert shop.settled
    assert settled_after_each(
        shop,
        shrunk("ship", 10, 3),
        taken_off("o2", "ship", 4),
        taken_off("o1", "ship", 6),
        out_of_stock("o2", 4, 3),
        allocated("o1", "shelf", 6),
    ) == [False, False, False, False, True]


def settled_after_each(shop: Shop, *events: contracts.Event) -> list[bool]:
    settled = []
    for event in events:
        shop.take(received(event))
        settled.append(shop.settled)
    return settled


def test_a_shop_is_not_settled_while_a_line_waits_for_what_there_is() -> None:
    shop = shop_after(created("shelf", 10), backordered("o1", 12, 10), backordered("o2", 40, 10))
    assert settled_after_each(shop, created("ship", 15, eta=SOON), allocated("o1", "ship", 12)) == [False, True]
    assert (shop.waiting, shop.waited) == ({("o2", "LAMP", ""): 40}, 2)


def test_a_shop_is_not_settled_until_every_line_has_been_told_the_new_date() -> None:
    shop = shop_after(
        created("ship", 15, eta=SOON),
        allocated("o1", "ship", 5),
        allocated("o2", "ship", 5),
        allocated("o3", "ship", 5),
        cancelled("o3", "ship", 5),
    )
    assert settled_after_each(
        shop,
        comes("ship", LATER, SOON),
        promised("o1", "ship", 5, LATER, SOON),
        promised("o2", "ship", 5, LATER, SOON),
        comes("ship", LATER, LATER),
        comes("ship", None, LATER),
        promised("o1", "ship", 5, None, LATER),
        promised("o2", "ship", 5, None, LATER),
    ) == [False, False, True, True, False, False, True]
    assert (shop.batches["ship"].eta, shop.told) == (None, 4)


def test_a_shipped_line_is_told_no_more() -> None:
    shop = shop_after(created("shelf", 10), allocated("o1", "shelf", 5), shipped("o1", "shelf", 5))
    assert shop.lines_of("shelf") == set()
    assert shop.batches["shelf"].available == 5


def test_a_batch_remembers_how_much_it_lost() -> None:
    shop = shop_after(created("ship", 10), shrunk("ship", 10, 4), shrunk("ship", 4, 6))
    assert (shop.batches["ship"].purchased, shop.batches["ship"].lost) == (6, 4)
    assert shop_after(created("ship", 10), shrunk("ship", 10, 30)).batches["ship"].lost == 0


def test_the_largest_batch_stays_the_measure_after_it_shrank() -> None:
    assert shop_after(created("ship", 10), shrunk("ship", 10, 4)).largest == 10


def test_batches_stand_in_the_order_in_which_they_are_drawn_upon() -> None:
    shop = shop_after(created("late", 1, eta=LATER), created("soon", 1, eta=SOON), created("shelf", 1))
    assert [stock.ref for stock in shop.of("LAMP")] == ["shelf", "soon", "late"]


def test_the_largest_available_is_that_of_one_batch() -> None:
    shop = shop_after(created("shelf", 10), created("ship", 8, eta=SOON), allocated("o1", "shelf", 5))
    assert shop.largest_available("LAMP") == 8
    assert shop.largest_available("VASE") == 0


def test_the_fullest_ship_is_not_in_the_warehouse() -> None:
    shop = shop_after(
        created("shelf", 10),
        created("soon", 9, eta=SOON),
        created("late", 9, eta=LATER),
        allocated("o1", "shelf", 9),
        allocated("o2", "late", 2),
    )
    assert shop.fullest_ship("LAMP").ref == "late"
    with pytest.raises(ValueError, match="empty"):
        shop.fullest_ship("VASE")


def test_moves_are_counted_by_where_they_went() -> None:
    twice = received(allocated("o1", "shelf", 6))
    moves = moves_in(
        [
            received(shrunk("ship", 10, 3)),
            received(taken_off("o3", "ship", 1)),
            received(taken_off("o2", "ship", 4)),
            received(taken_off("o1", "ship", 6)),
            received(allocated("o3", "ship", 1)),
            received(out_of_stock("o2", 4, 3)),
            twice,
            twice,
        ]
    )
    assert (moves.taken_off, moves.to, moves.stranded) == (3, {"ship": 1, "shelf": 1}, 1)
