"""The output of `tail` for an event."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

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


LINE: dict[str, Any] = {"orderid": "o", "sku": "S", "lineid": "", "qty": 3}


@pytest.fixture(autouse=True)
def another_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
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
    assert as_text(seen(event)) == f"22:13:20Z  {line}"


@pytest.mark.parametrize(
    ("event", "subject", "words"),
    [
        (
            contracts.Backordered(**LINE, largest_available=2, next_eta=date(2030, 1, 31), sequence=1),
            "o",
            "3 wanted, 2 to be had; more on 2030-01-31",
        ),
        (
            contracts.BatchEtaChanged(batchref="b1", sku="S", eta=None, previous_eta=date(2030, 1, 31), sequence=2),
            "b1",
            "due 2030-01-31 -> in the warehouse",
        ),
        (
            contracts.PromiseChanged(
                **LINE, batchref="b1", eta=date(2030, 2, 1), previous_eta=date(2030, 1, 31), sequence=3
            ),
            "o",
            "3 from b1, due 2030-01-31 -> due 2030-02-01",
        ),
        (contracts.Shipped(**LINE, batchref="b1", sequence=4), "o", "3 from b1, shipped"),
        (
            contracts.LineQuantityChanged(**LINE, previous_qty=5, batchref="b1", eta=None, sequence=5),
            "o",
            "5 -> 3, from b1, in the warehouse",
        ),
        (
            contracts.LineQuantityChanged(**LINE, previous_qty=5, batchref=None, eta=None, sequence=5),
            "o",
            "5 -> 3, holds nothing",
        ),
        (
            contracts.Held(
                **LINE, batchref="b1", eta=None, until=datetime(2030, 1, 31, 12, 0, 5, tzinfo=UTC), sequence=6
            ),
            "o",
            "3 from b1, in the warehouse, until 2030-01-31 12:00:05 UTC",
        ),
        (contracts.HoldLapsed(**LINE, batchref="b1", sequence=7), "o", "3 back to b1"),
    ],
)
def test_what_happens_to_a_line_after_it_was_asked_for_is_a_line_too(
    event: contracts.Event, subject: str, words: str
) -> None:
    sequence = getattr(event, "sequence", "")
    assert as_text(seen(event)) == f"22:13:20Z  {event.TYPE:<25}  {sequence:>6}  {'S':16}  {subject:16}  {words}"


def test_an_event_of_a_newer_worker_is_shown_as_it_is() -> None:
    event = SeenEvent(FakeProperties(type="allocated.v2", timestamp=1_700_000_000), b'{"order": "o1"}')
    assert as_text(event) == f"22:13:20Z  {'allocated.v2':<25}  {'':6}  {'':16}  {'':16}  " + '{"order": "o1"}'
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
