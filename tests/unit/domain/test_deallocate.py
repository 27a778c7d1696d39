"""Cancelling a line."""

from datetime import date

from allocation_worker.domain.events import Deallocated
from allocation_worker.domain.lines import OrderLine
from allocation_worker.domain.model import Product


def a_product_with_a_line(qty: int, *, stock: int) -> Product:
    product = Product("RETRO-CLOCK")
    product.create_batch("batch", stock, date(2026, 1, 1))
    product.lines["order", ""] = OrderLine("RETRO-CLOCK", "order", "")
    product.allocate(("order", ""), qty)
    product.events.clear()
    return product


def cancelled(qty: int, batchref: str | None, sequence: int) -> Deallocated:
    return Deallocated(
        orderid="order",
        sku="RETRO-CLOCK",
        lineid="",
        qty=qty,
        batchref=batchref,
        reason="cancelled",
        sequence=sequence,
    )


def test_cancelling_frees_the_stock() -> None:
    product = a_product_with_a_line(3, stock=10)
    product.deallocate(("order", ""))
    assert product.events == [cancelled(3, "batch", sequence=3)]
    assert product.batches["batch"].available_quantity == 10


def test_cancelling_a_line_that_was_out_of_stock_names_no_batch() -> None:
    product = a_product_with_a_line(30, stock=10)
    product.deallocate(("order", ""))
    assert product.events == [cancelled(30, None, sequence=3)]


def test_cancelling_a_line_never_seen_names_no_batch_and_no_quantity() -> None:
    product = Product("RETRO-CLOCK")
    product.lines["order", ""] = OrderLine("RETRO-CLOCK", "order", "")
    product.deallocate(("order", ""))
    assert product.events == [cancelled(0, None, sequence=1)]


def test_cancelling_twice_is_answered_twice_and_frees_once() -> None:
    product = a_product_with_a_line(3, stock=10)
    product.deallocate(("order", ""))
    product.deallocate(("order", ""))
    assert product.events == [cancelled(3, "batch", sequence=3), cancelled(3, None, sequence=4)]
    assert product.batches["batch"].available_quantity == 10


def test_freed_stock_can_be_had_by_another_line() -> None:
    product = a_product_with_a_line(10, stock=10)
    product.deallocate(("order", ""))
    product.lines["another", ""] = OrderLine("RETRO-CLOCK", "another", "")
    product.allocate(("another", ""), 10)
    assert product.lines["another", ""].batchref == "batch"
