"""A batch comes on another day, or has arrived: its lines are told, and moved only if it comes too late for them."""

from datetime import date
from typing import Any

import pytest

from allocation_worker.domain.commands import ChangeBatchEta, ChangeBatchQuantity
from allocation_worker.domain.errors import BatchArrivedError, BatchExistsError, UnknownBatchError
from allocation_worker.domain.model import AT_A_TIME
from tests.unit.domain.shop import LATER, SOON, Shop, cancel, create, order, wait


def change(eta: date | None, batchref: str = "ship") -> ChangeBatchEta:
    return ChangeBatchEta(batchref=batchref, eta=eta)


@pytest.fixture
def shop() -> Shop:
    """A ship with 5, of which two lines hold 1 each."""
    shop = Shop()
    shop(create("ship", 5, SOON), order("first", 1), order("second", 1))
    return shop


def last(shop: Shop) -> dict[str, Any]:
    return shop.database.published()[-1].body


def test_each_line_is_told_the_first_asked_first(shop: Shop) -> None:
    assert shop(change(LATER)) == [
        ("batch-eta-changed", "", "ship"),
        ("promise-changed", "first", "ship"),
        ("promise-changed", "second", "ship"),
    ]
    assert (last(shop)["previous_eta"], last(shop)["eta"]) == ("2031-01-01", "2031-02-01")


def test_a_batch_that_arrives_is_told_with_no_eta(shop: Shop) -> None:
    shop(change(None))
    assert (last(shop)["previous_eta"], last(shop)["eta"]) == ("2031-01-01", None)


def test_of_the_same_day_no_line_is_told(shop: Shop) -> None:
    assert shop(change(SOON)) == [("batch-eta-changed", "", "ship")]


def test_a_line_that_is_asked_for_again_is_answered_by_the_new_promise(shop: Shop) -> None:
    shop(change(LATER))
    told = shop.database.published()[-2]
    assert shop(order("first", 1)) == [("promise-changed", "first", "ship")]
    assert shop.database.published()[-1].message_id == told.message_id


def test_what_is_in_the_warehouse_cannot_arrive_again(shop: Shop) -> None:
    shop(change(None))
    with pytest.raises(
        BatchArrivedError, match=r"^Batch 'ship' is in the warehouse already, and cannot arrive on 2031"
    ):
        shop(change(SOON))


def test_what_is_in_the_warehouse_may_be_told_to_be_there(shop: Shop) -> None:
    assert shop(change(None), change(None))[-1] == ("batch-eta-changed", "", "ship")


def test_a_batch_that_was_never_created_is_unknown(shop: Shop) -> None:
    with pytest.raises(UnknownBatchError):
        shop(change(SOON, "no-such-ship"))


def test_a_batch_is_announced_again_as_it_was_created(shop: Shop) -> None:
    created = shop.database.published()[0]
    shop(change(LATER), create("ship", 5, SOON))
    again = shop.database.published()[-1]
    assert (again.message_id, again.body) == (created.message_id, created.body)
    with pytest.raises(BatchExistsError):
        shop(create("ship", 5, LATER))


class TestTooLate:
    def test_a_line_that_is_needed_earlier_moves(self) -> None:
        shop = Shop()
        shop(create("ship", 5, SOON), order("a", 1), order("b", 1, needed_by=SOON), create("shelf", 1))
        assert shop(change(LATER)) == [
            ("batch-eta-changed", "", "ship"),
            ("promise-changed", "a", "ship"),
            ("deallocated", "b", "ship"),
            ("allocated", "b", "shelf"),
        ]
        assert shop.database.published()[-2].body["reason"] == "batch-eta-changed"

    def test_without_another_batch_it_is_out_of_stock_or_waits(self) -> None:
        shop = Shop()
        shop(create("ship", 5, SOON), order("o", 1, needed_by=SOON), wait("w", 1, needed_by=SOON))
        assert shop(change(LATER))[-2:] == [("out-of-stock", "o", None), ("backordered", "w", None)]

    def test_the_first_asked_looks_for_stock_first(self) -> None:
        shop = Shop()
        shop(create("ship", 5, SOON), *(order(name, 1, needed_by=SOON) for name in ("first", "second")))
        shop(create("shelf", 1))
        assert shop(change(LATER))[-2:] == [("allocated", "first", "shelf"), ("out-of-stock", "second", None)]

    def test_what_it_leaves_behind_goes_to_those_that_wait(self) -> None:
        shop = Shop()
        shop(create("ship", 1, SOON), order("o", 1, needed_by=SOON), wait("w", 1))
        assert shop(change(LATER))[-1] == ("allocated", "w", "ship")


def test_a_batch_that_comes_earlier_serves_lines_that_wait(shop: Shop) -> None:
    shop(create("late", 4, LATER), wait("w", 4, needed_by=SOON))
    assert shop(change(SOON, "late"))[1:] == [("allocated", "w", "late")]


def test_nobody_moves_up_to_a_batch_that_has_arrived(shop: Shop) -> None:
    shop(create("later", 5, LATER), order("big", 4))
    assert [kind for kind, _, _ in shop(change(None))] == ["batch-eta-changed", *2 * ["promise-changed"]]
    assert shop.database.stock()["later"] == (5, 4)


def test_a_batch_that_has_arrived_is_preferred(shop: Shop) -> None:
    shop(create("sooner", 5, date(2030, 1, 1)), change(None))
    assert shop(order("new", 1)) == [("allocated", "new", "ship")]


def test_a_line_whose_eta_changed_keeps_its_place(shop: Shop) -> None:
    shop(create("other", 1, LATER), order("big", 3), change(LATER))
    shop(cancel("big"), order("last", 3))
    assert shop(ChangeBatchQuantity(batchref="ship", qty=2))[1] == ("deallocated", "last", "ship")


def test_more_lines_than_are_told_at_a_time_are_told_by_one_command() -> None:
    shop = Shop()
    count = 2 * AT_A_TIME + 1
    terms = [{"needed_by": SOON} if number % 1000 == 999 else {} for number in range(count)]
    shop.together(create("ship", count, SOON), *(order(f"o{number}", 1, **terms[number]) for number in range(count)))
    told = shop(change(LATER))
    assert [orderid for kind, orderid, _ in told if kind == "promise-changed"] == [
        f"o{number}" for number in range(count) if number % 1000 != 999
    ]
    assert told[-2:] == [("out-of-stock", "o999", None), ("out-of-stock", "o1999", None)]
