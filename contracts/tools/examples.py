"""An example of each message, as documents show it."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType

from allocation_contracts.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from allocation_contracts.events import (
    Allocated,
    Backordered,
    BatchCreated,
    BatchEtaChanged,
    BatchQuantityChanged,
    CommandRejected,
    Deallocated,
    Event,
    Held,
    HoldLapsed,
    LineQuantityChanged,
    OutOfStock,
    PromiseChanged,
    Shipped,
)

_SHIP = date(2030, 1, 31)
_LATER = date(2030, 2, 28)
_UNTIL = datetime(2030, 1, 15, 12, 30, tzinfo=UTC)

EXAMPLES: Mapping[str, Command | Event] = MappingProxyType(
    {
        example.TYPE: example
        for example in (
            Allocate(orderid="order-17", sku="RED-CHAIR", qty=3, lineid="1"),
            Deallocate(orderid="order-17", sku="RED-CHAIR", lineid="1"),
            Ship(orderid="order-17", sku="RED-CHAIR", lineid="1"),
            ChangeLineQuantity(orderid="order-17", sku="RED-CHAIR", lineid="1", qty=2, from_qty=3),
            Hold(orderid="basket-5", sku="RED-CHAIR", qty=1, until=_UNTIL),
            CreateBatch(batchref="batch-8", sku="RED-CHAIR", qty=100, eta=_SHIP),
            ChangeBatchQuantity(batchref="batch-8", qty=80),
            ChangeBatchEta(batchref="batch-8", eta=_LATER),
            Allocated(
                orderid="order-17", sku="RED-CHAIR", lineid="1", qty=3, batchref="batch-8", eta=_SHIP, sequence=2
            ),
            OutOfStock(
                orderid="order-18",
                sku="RED-CHAIR",
                lineid="",
                qty=500,
                largest_available=97,
                next_eta=None,
                sequence=3,
            ),
            Backordered(
                orderid="order-20", sku="RED-CHAIR", lineid="", qty=98, largest_available=97, next_eta=_SHIP, sequence=6
            ),
            Deallocated(
                orderid="order-17",
                sku="RED-CHAIR",
                lineid="1",
                qty=3,
                batchref="batch-8",
                reason="cancelled",
                sequence=4,
            ),
            BatchCreated(batchref="batch-8", sku="RED-CHAIR", qty=100, eta=_SHIP, sequence=1),
            BatchQuantityChanged(batchref="batch-8", sku="RED-CHAIR", qty=80, previous_qty=100, sequence=5),
            BatchEtaChanged(batchref="batch-8", sku="RED-CHAIR", eta=_LATER, previous_eta=_SHIP, sequence=7),
            PromiseChanged(
                orderid="order-21",
                sku="RED-CHAIR",
                lineid="",
                qty=2,
                batchref="batch-8",
                eta=_LATER,
                previous_eta=_SHIP,
                sequence=8,
            ),
            Shipped(orderid="order-21", sku="RED-CHAIR", lineid="", qty=2, batchref="batch-8", sequence=9),
            LineQuantityChanged(
                orderid="order-17",
                sku="RED-CHAIR",
                lineid="1",
                qty=2,
                previous_qty=3,
                batchref="batch-8",
                eta=_SHIP,
                sequence=10,
            ),
            Held(
                orderid="basket-5",
                sku="RED-CHAIR",
                lineid="",
                qty=1,
                batchref="batch-8",
                eta=_LATER,
                until=_UNTIL,
                sequence=11,
            ),
            HoldLapsed(orderid="basket-5", sku="RED-CHAIR", lineid="", qty=1, batchref="batch-8", sequence=12),
            CommandRejected(
                command="allocate.v1",
                reason="unknown-sku",
                detail="No batch of RED-CHIAR is known.",
                data={"orderid": "order-19", "sku": "RED-CHIAR", "qty": 1},
            ),
        )
    }
)
"""By type. They are one story: the events answer the commands."""
