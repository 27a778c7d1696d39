"""The choice of a batch for a line, and rejections."""

from dataclasses import replace
from datetime import date

import pytest

from allocation_worker.domain.errors import LineCancelledError, LineQuantityConflictError
from allocation_worker.domain.events import Allocated, OutOfStock, RaisedEvent
from allocation_worker.domain.lines import OrderLine
from allocation_worker.domain.model import Product

TODAY, TOMORROW, LATER = date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 10)
IN_STOCK = None


def a_product(*batches: tuple[str, int, date | None]) -> Product:
    product = Product("RETRO-CLOCK")
    for reference, qty, eta in batches:
        product.create_batch(reference, qty, eta)
    product.events.clear()
    return product


def allocate(product: Product, orderid: str, qty: int, lineid: str = "") -> RaisedEvent:
    product.lines.setdefault((orderid, lineid), OrderLine("RETRO-CLOCK", orderid, lineid))
    product.allocate((orderid, lineid), qty)
    return product.events[-1]


def batch_of(event: RaisedEvent) -> str:
    assert isinstance(event, Allocated), event
    return event.batchref


def available(product: Product) -> list[int]:
    return [batch.available_quantity for batch in product.batches.values()]


def test_allocating_to_a_batch_reduces_its_available_quantity() -> None:
    product = a_product(("batch", 20, IN_STOCK))
    allocate(product, "order", 2)
    assert available(product) == [18]


def test_the_event_tells_the_line_the_batch_and_its_eta() -> None:
    product = a_product(("batch", 20, TOMORROW))
    assert allocate(product, "order", 2, lineid="7") == Allocated(
        orderid="order", sku="RETRO-CLOCK", lineid="7", qty=2, batchref="batch", eta=TOMORROW, sequence=2
    )


def test_a_line_may_take_all_that_is_left() -> None:
    product = a_product(("batch", 2, IN_STOCK))
    assert batch_of(allocate(product, "order", 2)) == "batch"
    assert available(product) == [0]


def test_prefers_warehouse_batches_to_shipments() -> None:
    product = a_product(("shipment", 100, TODAY), ("warehouse", 100, IN_STOCK))
    assert batch_of(allocate(product, "order", 10)) == "warehouse"


@pytest.mark.parametrize("eta", [date.min, date.max])
def test_prefers_the_warehouse_to_a_shipment_of_whatever_date(eta: date) -> None:
    product = a_product(("shipment", 100, eta), ("warehouse", 100, IN_STOCK))
    assert batch_of(allocate(product, "order", 10)) == "warehouse"


def test_prefers_earlier_shipments() -> None:
    product = a_product(("slow", 100, LATER), ("fast", 100, TODAY), ("medium", 100, TOMORROW))
    assert batch_of(allocate(product, "order", 10)) == "fast"


@pytest.mark.parametrize("eta", [IN_STOCK, TOMORROW])
def test_prefers_the_batch_that_arrived_first_among_equals(eta: date | None) -> None:
    product = a_product(("z-first", 100, eta), ("a-second", 100, eta))
    assert batch_of(allocate(product, "order", 10)) == "z-first"


def test_passes_over_a_batch_that_is_too_small() -> None:
    product = a_product(("small", 5, IN_STOCK), ("large", 100, TOMORROW))
    assert batch_of(allocate(product, "order", 10)) == "large"


def test_a_line_is_never_split() -> None:
    product = a_product(("one", 5, IN_STOCK), ("two", 5, IN_STOCK))
    assert isinstance(allocate(product, "order", 10), OutOfStock)
    assert available(product) == [5, 5]


def test_out_of_stock_tells_the_most_that_one_batch_could_give_and_the_next_eta() -> None:
    product = a_product(("one", 5, IN_STOCK), ("two", 7, LATER), ("three", 6, TOMORROW))
    assert allocate(product, "order", 10) == OutOfStock(
        orderid="order", sku="RETRO-CLOCK", lineid="", qty=10, largest_available=7, next_eta=TOMORROW, sequence=4
    )


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ([("ship", 5, TOMORROW)], (5, None)),
        ([("shelf", 5, IN_STOCK), ("ship", 5, TOMORROW)], (5, TOMORROW)),
        ([("shelf", 3, IN_STOCK), ("ship", 5, TOMORROW)], (5, None)),
        ([("slow", 5, LATER), ("fast", 5, TOMORROW)], (5, LATER)),
        ([("first", 5, TOMORROW), ("second", 5, TOMORROW)], (5, TOMORROW)),
        ([("slow", 7, LATER), ("fast", 5, TOMORROW)], (7, TOMORROW)),
    ],
)
def test_the_next_eta_is_that_of_a_batch_that_the_largest_available_does_not_count(
    batches: list[tuple[str, int, date | None]], told: tuple[int, date | None]
) -> None:
    refused = allocate(a_product(*batches), "order", 10)
    assert isinstance(refused, OutOfStock)
    assert (refused.largest_available, refused.next_eta) == told


def test_out_of_stock_tells_nothing_of_batches_that_are_used_up() -> None:
    product = a_product(("one", 5, TODAY))
    allocate(product, "first", 5)
    refused = allocate(product, "second", 1)
    assert isinstance(refused, OutOfStock)
    assert (refused.largest_available, refused.next_eta) == (0, None)


def test_a_line_that_was_out_of_stock_tries_again() -> None:
    product = a_product(("one", 5, IN_STOCK))
    allocate(product, "order", 10)
    product.create_batch("two", 10, TOMORROW)
    assert batch_of(allocate(product, "order", 10)) == "two"


def test_a_line_that_was_out_of_stock_may_try_again_with_another_quantity() -> None:
    product = a_product(("one", 5, IN_STOCK))
    allocate(product, "order", 10)
    event = allocate(product, "order", 4)
    assert isinstance(event, Allocated)
    assert event.qty == 4
    assert available(product) == [1]


def test_out_of_stock_again_is_news_with_a_sequence_of_its_own() -> None:
    product = a_product(("one", 5, IN_STOCK))
    first, second = allocate(product, "order", 10), allocate(product, "order", 10)
    assert isinstance(first, OutOfStock)
    assert isinstance(second, OutOfStock)
    assert (first.sequence, second.sequence) == (2, 3)


def test_allocating_the_same_line_again_announces_the_same_event() -> None:
    product = a_product(("batch", 20, TODAY))
    first = allocate(product, "order", 2)
    allocate(product, "another", 2)
    assert allocate(product, "order", 2) == first


def test_allocating_the_same_line_again_takes_no_stock_and_counts_nothing() -> None:
    product = a_product(("batch", 20, TODAY))
    allocate(product, "order", 2)
    before = (product.sequence, available(product))
    allocate(product, "order", 2)
    assert (product.sequence, available(product)) == before


def test_allocating_the_same_line_again_stays_although_a_better_batch_has_come() -> None:
    product = a_product(("shipment", 20, TODAY))
    first = allocate(product, "order", 2)
    product.create_batch("warehouse", 20, IN_STOCK)
    assert allocate(product, "order", 2) == first


def test_the_same_line_in_another_quantity_is_refused() -> None:
    product = a_product(("batch", 20, TODAY))
    allocate(product, "order", 2)
    with pytest.raises(LineQuantityConflictError, match="holds 2 already, not 3") as refusal:
        allocate(product, "order", 3)
    assert refusal.value.reason == "line-quantity-conflict"
    assert available(product) == [18]


def test_lines_of_one_order_and_sku_are_told_apart_by_lineid() -> None:
    product = a_product(("batch", 20, TODAY))
    allocate(product, "order", 2)
    allocate(product, "order", 2, lineid="2")
    allocate(product, "order", 3, lineid="3")
    assert available(product) == [13]


def test_a_cancelled_line_is_refused_for_good() -> None:
    product = a_product(("batch", 20, TODAY))
    allocate(product, "order", 2)
    product.deallocate(("order", ""))
    for qty in (2, 3):
        with pytest.raises(LineCancelledError, match="'order', SKU 'RETRO-CLOCK'") as refusal:
            allocate(product, "order", qty)
        assert refusal.value.reason == "line-cancelled"
    assert available(product) == [20]


def test_a_line_cancelled_before_it_came_is_refused() -> None:
    product = a_product(("batch", 20, TODAY))
    product.lines["late", "1"] = OrderLine("RETRO-CLOCK", "late", "1")
    product.deallocate(("late", "1"))
    with pytest.raises(LineCancelledError, match="lineid '1'"):
        allocate(product, "late", 2, lineid="1")


def test_a_refusal_records_nothing() -> None:
    product = a_product(("batch", 20, TODAY))
    allocate(product, "order", 2)
    line = replace(product.lines["order", ""])
    product.events.clear()
    with pytest.raises(LineQuantityConflictError):
        allocate(product, "order", 3)
    assert (product.events, product.sequence, product.lines["order", ""]) == ([], 2, line)
