"""The output of `tail` for an event."""

import json
import time
from collections.abc import Iterator
from datetime import date

import pytest

import allocation_contracts as contracts
from allocation_worker.bootstrap.tail import SeenEvent
from allocation_worker.cli.event_lines import as_json, as_text, concerns
from tests.fakes.messages import FakeProperties

ALLOCATED = contracts.Allocated(
    orderid="order-17", sku="RED-CHAIR", lineid="2", qty=3, batchref="b1", eta=date(2030, 1, 31), sequence=12
)
REJECTED = contracts.CommandRejected(
    command="allocate.v1",
    reason="unknown-sku",
    detail="No batch of it.",
    data={"orderid": "order-17", "sku": "TABLE", "qty": 3},
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def seen(event: contracts.Event) -> SeenEvent:
    properties = FakeProperties(
        type=event.TYPE, message_id="m1", correlation_id="c1", headers={"causation_id": "a1"}, timestamp=1_700_000_000
    )
    return SeenEvent(properties, contracts.encode(event))


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            ALLOCATED,
            "allocated.v1                   12  RED-CHAIR         order-17/2        3 from b1, due 2030-01-31",
        ),
        (
            contracts.OutOfStock(
                orderid="o", sku="椅子", lineid="", qty=9, largest_available=4, next_eta=None, sequence=1
            ),
            "out-of-stock.v1                 1  椅子              o                 9 wanted, 4 to be had",
        ),
        (
            contracts.Deallocated(
                orderid="o", sku="S", lineid="", qty=0, batchref=None, reason="cancelled", sequence=1
            ),
            "deallocated.v1                  1  S                 o                 held nothing (cancelled)",
        ),
        (
            contracts.BatchCreated(batchref="b1", sku="S", qty=9, eta=None, sequence=1),
            "batch-created.v1                1  S                 b1                9 in the warehouse",
        ),
        (
            contracts.BatchQuantityChanged(batchref="b1", sku="S", qty=4, previous_qty=9, sequence=2),
            "batch-quantity-changed.v1       2  S                 b1                9 -> 4",
        ),
        (
            REJECTED,
            "command-rejected.v1                TABLE             order-17          unknown-sku: No batch of it.",
        ),
    ],
)
def test_each_event_is_an_aligned_line(event: contracts.Event, line: str) -> None:
    assert as_text(seen(event)) == f"22:13:20  {line}"


def test_an_event_of_a_newer_worker_is_shown_as_it_is() -> None:
    event = SeenEvent(FakeProperties(type="allocated.v2", timestamp=1_700_000_000), b'{"order": "o1"}')
    assert as_text(event) == f"22:13:20  {'allocated.v2':<25}  {'':6}  {'':16}  {'':16}  " + '{"order": "o1"}'
    assert '"unreadable": "{"' in as_text(event._replace(body=b"{"))


def test_json_holds_the_body_and_what_stood_beside_it() -> None:
    assert json.loads(as_json(seen(ALLOCATED))) == {
        "type": "allocated.v1",
        "message_id": "m1",
        "correlation_id": "c1",
        "causation_id": "a1",
        "timestamp": "2023-11-14T22:13:20+00:00",
        "body": json.loads(contracts.encode(ALLOCATED)),
    }


@pytest.mark.parametrize(
    ("event", "order", "sku", "wanted"),
    [
        (ALLOCATED, None, None, True),
        (ALLOCATED, "order-17", None, True),
        (ALLOCATED, "order-17", "RED-CHAIR", True),
        (ALLOCATED, "order-17", "TABLE", False),
        (ALLOCATED, "order-1", None, False),
        (REJECTED, "order-17", "TABLE", True),
        (REJECTED, None, "RED-CHAIR", False),
        (contracts.BatchCreated(batchref="b1", sku="S", qty=9, eta=None, sequence=1), "order-17", None, False),
    ],
)
def test_events_are_picked_by_order_and_sku(
    event: contracts.Event, order: str | None, sku: str | None, *, wanted: bool
) -> None:
    assert concerns(seen(event), order=order, sku=sku) is wanted
