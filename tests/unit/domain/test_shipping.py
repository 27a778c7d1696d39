"""Lines that are shipped: nothing happens to them afterwards."""

import pytest

from allocation_worker.domain.commands import ChangeBatchEta, ChangeBatchQuantity, Ship
from allocation_worker.domain.errors import (
    BatchNotArrivedError,
    BatchShippedError,
    LineCancelledError,
    LineNotAllocatedError,
    LineShippedError,
    RefusalError,
)
from tests.unit.domain.shop import SOON, Shop, cancel, create, order, wait


def ship(orderid: str) -> Ship:
    return Ship(orderid=orderid, sku="LAMP")


@pytest.fixture
def shop() -> Shop:
    """A batch of 3 that three lines hold."""
    shop = Shop()
    shop(create("b1", 3), *(order(f"o{number}", 1) for number in range(3)))
    return shop


def test_a_line_with_stock_in_the_warehouse_is_shipped(shop: Shop) -> None:
    assert shop(ship("o0")) == [("shipped", "o0", "b1")]
    assert shop.database.stock() == {"b1": (3, 3)}


def test_a_repeat_is_announced_again(shop: Shop) -> None:
    shop(ship("o0"), ship("o0"))
    first, again = shop.database.published()[-2:]
    assert (first.message_id, first.body) == (again.message_id, again.body)


@pytest.mark.parametrize(
    ("orderid", "refusal"),
    [
        ("gone", LineCancelledError),
        ("waits", LineNotAllocatedError),
        ("never", LineNotAllocatedError),
        ("at-sea", BatchNotArrivedError),
    ],
)
def test_a_line_without_stock_at_hand_is_refused(shop: Shop, orderid: str, refusal: type[RefusalError]) -> None:
    shop(create("ship", 1, SOON), order("at-sea", 1), wait("waits", 9), cancel("gone"))
    with pytest.raises(refusal):
        shop(ship(orderid))


def test_a_sku_that_was_never_heard_of_is_refused() -> None:
    with pytest.raises(LineNotAllocatedError):
        Shop()(ship("o"))


def test_once_its_batch_has_arrived_it_is_shipped(shop: Shop) -> None:
    shop(create("ship", 1, SOON), order("o", 1), ChangeBatchEta(batchref="ship", eta=None))
    assert shop(ship("o")) == [("shipped", "o", "ship")]


def test_it_can_neither_be_allocated_nor_cancelled_afterwards(shop: Shop) -> None:
    shop(ship("o0"))
    for command in (order("o0", 1), order("o0", 2), cancel("o0")):
        with pytest.raises(LineShippedError):
            shop(command)


def test_a_shrink_passes_it_over(shop: Shop) -> None:
    shop(ship("o2"))
    assert shop(ChangeBatchQuantity(batchref="b1", qty=2))[1] == ("deallocated", "o1", "b1")


def test_a_batch_cannot_hold_less_than_was_shipped(shop: Shop) -> None:
    shop(ship("o0"), ship("o1"))
    with pytest.raises(BatchShippedError, match=r"^Of batch 'b1', 2 have been shipped; it cannot hold 1.$"):
        shop(ChangeBatchQuantity(batchref="b1", qty=1))
    shop(ChangeBatchQuantity(batchref="b1", qty=2))
    assert shop.database.stock() == {"b1": (2, 2)}
