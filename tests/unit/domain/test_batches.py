"""Creating batches and changing their quantity. See test_shrinking.py for the lines of a shrinking batch."""

from collections.abc import Iterator
from datetime import date

import pytest

from allocation_worker.domain.errors import BatchExistsError
from allocation_worker.domain.events import BatchCreated, BatchQuantityChanged, Deallocated
from allocation_worker.domain.lines import OrderLine
from allocation_worker.domain.model import Product

SKU, ETA = "SMALL-TABLE", date(2026, 1, 1)
NO_LINES: Iterator[OrderLine] = iter(())


def a_product() -> Product:
    product = Product(SKU)
    product.create_batch("batch", 10, ETA)
    return product


def test_a_new_batch_is_announced_and_all_of_it_is_available() -> None:
    product = a_product()
    assert product.events == [BatchCreated(batchref="batch", sku=SKU, qty=10, eta=ETA, sequence=1)]
    assert product.batches["batch"].available_quantity == 10


def test_the_same_batch_again_announces_the_same_event() -> None:
    product = a_product()
    product.create_batch("another", 1, None)
    product.announce_batch_again("batch", SKU, 10, ETA)
    assert product.events[-1] == product.events[0]
    assert (product.sequence, product.batches_arrived) == (2, 2)


@pytest.mark.parametrize(("sku", "qty", "eta"), [("OTHER", 10, ETA), (SKU, 11, ETA), (SKU, 10, None)])
def test_a_batch_with_other_content_is_refused(sku: str, qty: int, eta: date | None) -> None:
    product = a_product()
    with pytest.raises(
        BatchExistsError, match="'batch' was created with 10 of SKU 'SMALL-TABLE', ETA 2026-01-01"
    ) as no:
        product.announce_batch_again("batch", sku, qty, eta)
    assert no.value.reason == "batch-exists"
    assert (product.sequence, len(product.events)) == (1, 1)


def test_a_batch_is_compared_with_what_was_created_and_not_with_what_it_became() -> None:
    product = a_product()
    product.change_batch_quantity("batch", 25, NO_LINES)
    product.announce_batch_again("batch", SKU, 10, ETA)
    assert product.events[-1] == product.events[0]
    with pytest.raises(BatchExistsError):
        product.announce_batch_again("batch", SKU, 25, ETA)
    assert product.batches["batch"].purchased_quantity == 25


def test_growing_only_adds_stock() -> None:
    product = a_product()
    product.change_batch_quantity("batch", 25, NO_LINES)
    assert product.events[1:] == [BatchQuantityChanged(batchref="batch", sku=SKU, qty=25, previous_qty=10, sequence=2)]
    assert product.batches["batch"].available_quantity == 25


def test_a_change_to_the_same_quantity_is_announced_too() -> None:
    product = a_product()
    product.change_batch_quantity("batch", 10, NO_LINES)
    assert product.events[1:] == [BatchQuantityChanged(batchref="batch", sku=SKU, qty=10, previous_qty=10, sequence=2)]


def test_a_batch_may_shrink_to_nothing() -> None:
    product = a_product()
    product.change_batch_quantity("batch", 0, NO_LINES)
    assert product.batches["batch"].available_quantity == 0


def test_a_shrink_takes_up_the_lines_that_it_needs_and_reads_no_more() -> None:
    product = a_product()
    for orderid in ("first", "second", "third"):
        product.lines[orderid, ""] = OrderLine("RETRO-CLOCK", orderid, "")
        product.allocate((orderid, ""), 3)
    held = [product.lines.pop((orderid, "")) for orderid in ("third", "second", "first")]
    product.events.clear()
    lines = iter(held)
    product.change_batch_quantity("batch", 6, lines)
    assert [event.orderid for event in product.events if isinstance(event, Deallocated)] == ["third"]
    assert product.lines == {("third", ""): held[0]}
    assert [line.orderid for line in lines] == ["second", "first"]
