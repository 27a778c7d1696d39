"""The checkout beside the real allocation worker."""

from collections.abc import Iterator

import pytest

from allocation_contracts import Allocated, BatchCreated, CreateBatch, Deallocated, OutOfStock
from allocation_contracts.amqp import Publisher
from allocation_worker.testing import AllocationStack
from checkout import Checkout, Line


@pytest.fixture
def checkout(allocation_stack: AllocationStack) -> Iterator[Checkout]:
    """The checkout, in a shop that has ten chairs."""
    allocation_stack.send(CreateBatch(batchref="shelf", sku="CHAIR", qty=10))
    allocation_stack.expect(BatchCreated, batchref="shelf")
    with Publisher(allocation_stack.amqp_url, app_id="checkout") as publisher:
        yield Checkout(publisher)


def test_each_line_of_a_basket_gets_stock(checkout: Checkout, allocation_stack: AllocationStack) -> None:
    checkout.place("order-1", [Line("CHAIR", 3), Line("CHAIR", 3)])
    assert allocation_stack.expect(Allocated, orderid="order-1", lineid="1").qty == 3
    assert allocation_stack.expect(Allocated, orderid="order-1", lineid="2").batchref == "shelf"


def test_what_is_not_there_is_told(checkout: Checkout, allocation_stack: AllocationStack) -> None:
    checkout.place("order-1", [Line("CHAIR", 11)])
    assert allocation_stack.expect(OutOfStock, orderid="order-1").largest_available == 10


def test_an_order_that_is_placed_twice_is_answered_once(checkout: Checkout, allocation_stack: AllocationStack) -> None:
    for _ in range(2):
        checkout.place("order-1", [Line("CHAIR", 3)])
    checkout.place("order-2", [Line("CHAIR", 7)])
    allocation_stack.expect(Allocated, orderid="order-2")
    assert [event.TYPE for event in allocation_stack.events()].count("allocated.v1") == 2
    assert allocation_stack.dead_letters() == []


def test_a_cancelled_order_gives_its_stock_back(checkout: Checkout, allocation_stack: AllocationStack) -> None:
    checkout.place("order-1", [Line("CHAIR", 10)])
    checkout.cancel("order-1", [Line("CHAIR", 10)])
    allocation_stack.expect(Deallocated, orderid="order-1", qty=10, reason="cancelled")
    checkout.place("order-2", [Line("CHAIR", 10)])
    allocation_stack.expect(Allocated, orderid="order-2")
