"""Wire messages and domain messages agree field by field."""

import json
from dataclasses import fields
from datetime import UTC, date, datetime
from typing import get_args

import pytest
from structlog.testing import capture_logs

import allocation_contracts as contracts
from allocation_contracts.commands import QUEUES_BY_ROUTING_KEY
from allocation_worker.adapters import wire
from allocation_worker.domain import commands, events
from allocation_worker.domain.events import ProductEvent
from allocation_worker.service_layer.ports import CountedEvent
from tests.fakes.messages import FakeDelivery, FakeProperties, message
from tools.examples import EXAMPLES

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CAUSE = message(commands.Allocate(orderid="o", sku="s", qty=1))

EVENTS: list[ProductEvent] = [
    events.Allocated(orderid="o", sku="s", lineid="", qty=1, batchref="b", eta=date(2030, 1, 31), sequence=1),
    events.OutOfStock(orderid="o", sku="s", lineid="1", qty=1, largest_available=0, next_eta=None, sequence=2),
    events.Backordered(orderid="o", sku="s", lineid="", qty=1, largest_available=0, next_eta=None, sequence=2),
    events.PromiseChanged(
        orderid="o", sku="s", lineid="", qty=1, batchref="b", eta=None, previous_eta=date(2030, 1, 31), sequence=2
    ),
    events.Shipped(orderid="o", sku="s", lineid="", qty=1, batchref="b", sequence=2),
    events.Held(
        orderid="o",
        sku="s",
        lineid="",
        qty=1,
        batchref="b",
        eta=None,
        until=datetime(2030, 1, 1, tzinfo=UTC),
        sequence=2,
    ),
    events.HoldLapsed(orderid="o", sku="s", lineid="", qty=1, batchref="b", sequence=2),
    events.LineQuantityChanged(
        orderid="o", sku="s", lineid="", qty=1, previous_qty=2, batchref="b", eta=None, sequence=2
    ),
    events.BatchEtaChanged(batchref="b", sku="s", eta=date(2030, 1, 31), previous_eta=date(2030, 1, 30), sequence=2),
    events.Deallocated(orderid="o", sku="s", lineid="", qty=0, batchref=None, reason="cancelled", sequence=3),
    events.BatchCreated(batchref="b", sku="s", qty=1, eta=None, sequence=4),
    events.BatchQuantityChanged(batchref="b", sku="s", qty=0, previous_qty=1, sequence=5),
]


@pytest.mark.parametrize("type_", contracts.COMMANDS)
def test_each_command_has_the_fields_that_were_sent(type_: str) -> None:
    sent = EXAMPLES[type_]
    read = wire.read(FakeDelivery(body=contracts.encode(sent), properties=FakeProperties(type=type_))).command
    assert type(read).__name__ == type(sent).__name__
    also = {"message_id": "m-1", "correlation_id": "m-1"} if isinstance(sent, contracts.Hold) else {}
    assert {field.name: getattr(read, field.name) for field in fields(read)} == dict(sent) | also


def test_there_is_an_example_of_each_event() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(ProductEvent))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_each_event_is_read_as_it_was_written(event: ProductEvent) -> None:
    type_, body = wire.write(event, CAUSE)
    assert type(event).__name__ == contracts.EVENTS[type_].__name__
    assert wire.product_event(type_, body.encode()) == event


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_each_event_is_written_as_its_model_is(event: ProductEvent) -> None:
    type_, body = wire.write(event, CAUSE)
    assert body.encode() == contracts.encode(contracts.EVENTS[type_].model_validate(event, from_attributes=True))


def test_a_rejection_gives_back_the_body_of_its_command_with_what_nobody_knows_here() -> None:
    body = b'{"orderid":"o","sku":"s","qty":1,"note":{"for":["us",1.5,null]}}'
    cause = wire.read(FakeDelivery(body=body))
    type_, text = wire.write(events.CommandRejected(reason="unknown-sku", detail="No."), cause)
    assert (type_, json.loads(text)) == (
        "command-rejected.v1",
        {"command": "allocate.v1", "reason": "unknown-sku", "detail": "No.", "data": json.loads(body)},
    )


def test_a_message_is_told_from_another_under_its_id_by_type_and_body() -> None:
    first = wire.read(FakeDelivery(body=b'{"orderid":"o","sku":"s","qty":1}')).fingerprint
    assert wire.read(FakeDelivery(body=b'{"orderid":"o","sku":"s","qty":1} ')).fingerprint != first
    assert wire.read(FakeDelivery(body=b'{"orderid":"o","sku":"s","qty":1}')).fingerprint == first


@pytest.mark.parametrize(
    ("type_", "body", "event"),
    [
        ("promised.v1", b'{"sku":"s","sequence":2,"weeks":3}', CountedEvent("s", 2)),
        ("stocktaking-began.v1", b'{"on":"2030-01-31"}', None),
    ],
)
def test_of_an_event_that_changes_nothing_in_the_read_model_only_its_place_is_read(
    type_: str, body: bytes, event: CountedEvent | None
) -> None:
    assert wire.read_event(FakeDelivery(body=body, properties=FakeProperties(type=type_))).event == event


@pytest.mark.parametrize(
    ("timestamp", "year"),
    [(1_600_000_000, 2020), (2**63, date.today().year), (None, date.today().year)],  # noqa: DTZ011 - at the turn of a year, both are right enough
)
def test_a_rejection_is_read_as_what_it_says_of_its_order(timestamp: int | None, year: int) -> None:
    body = b'{"orderid":"o","sku":"s","qty":1}'
    type_, text = wire.write(
        events.CommandRejected(reason="unknown-sku", detail="No."), wire.read(FakeDelivery(body=body))
    )
    read = wire.read_event(FakeDelivery(body=text.encode(), properties=FakeProperties(type=type_, timestamp=timestamp)))
    assert read.event is None
    assert read.rejection is not None
    assert read.rejection[:-1] == ("o", "s", "", "allocate.v1", "unknown-sku", "No.")
    assert read.rejection.rejected_at.year == year


def test_a_rejection_of_a_command_about_a_batch_is_of_no_order() -> None:
    cause = message(commands.ChangeBatchQuantity(batchref="b", qty=1))
    type_, text = wire.write(events.CommandRejected(reason="unknown-batch", detail="No."), cause)
    read = wire.read_event(FakeDelivery(body=text.encode(), properties=FakeProperties(type=type_)))
    assert (read.event, read.rejection) == (None, None)


@pytest.mark.parametrize("type_", ["", "promised.v1", "command-rejected.v1"])
def test_an_event_without_a_type_or_a_body_breaks_the_contract(type_: str) -> None:
    with pytest.raises(contracts.ContractError):
        wire.read_event(FakeDelivery(body=b"{", properties=FakeProperties(type=type_)))


@pytest.mark.parametrize(("sent", "logged"), [("00-abc", ['"00-abc"']), (5, ["5"]), ("", []), (TRACEPARENT, [])])
def test_a_broken_traceparent_leaves_a_debug_line_and_nothing_else(sent: object, logged: list[str]) -> None:
    properties = FakeProperties(headers={"traceparent": sent})
    with capture_logs() as lines:
        read = wire.read(FakeDelivery(body=b'{"orderid":"o","sku":"s","qty":1}', properties=properties))
    assert read.traceparent == (sent if sent == TRACEPARENT else None)
    about = {"message_id": "m-1", "correlation_id": "m-1", "type": "allocate.v1"}
    assert lines == [
        {"event": "traceparent_dropped", "log_level": "debug", **about, "traceparent": shown} for shown in logged
    ]


@pytest.mark.parametrize(("sent", "logged"), [("no member", ['"no member"']), (5, ["5"]), ("", []), ("a=b", [])])
def test_a_broken_tracestate_leaves_a_debug_line_and_nothing_else(sent: object, logged: list[str]) -> None:
    properties = FakeProperties(headers={"traceparent": TRACEPARENT, "tracestate": sent})
    with capture_logs() as lines:
        read = wire.read(FakeDelivery(body=b'{"orderid":"o","sku":"s","qty":1}', properties=properties))
    assert (read.traceparent, read.tracestate) == (TRACEPARENT, sent if sent == "a=b" else None)
    about = {"message_id": "m-1", "correlation_id": "m-1", "type": "allocate.v1"}
    assert lines == [
        {"event": "tracestate_dropped", "log_level": "debug", **about, "tracestate": shown} for shown in logged
    ]


def test_a_compressed_command_is_told_as_such() -> None:
    properties = FakeProperties(content_encoding="br")
    with pytest.raises(contracts.ContractError, match="compressed") as caught:
        wire.read(FakeDelivery(body=b"\x0b\x17\x80", properties=properties))
    assert caught.value.reason == "compressed-body"


@pytest.mark.parametrize("type_", contracts.COMMANDS)
def test_a_command_is_read_from_the_queue_of_its_type_alone(type_: str) -> None:
    body, properties = contracts.encode(EXAMPLES[type_]), FakeProperties(type=type_)
    own = contracts.COMMANDS[type_].QUEUE
    (other,) = {contracts.ORDERS_QUEUE, contracts.STOCK_QUEUE} - {own}
    assert wire.read_queued(FakeDelivery(body=body, properties=properties, queue=own)).type == type_
    with pytest.raises(contracts.ContractError, match=f"{type_} belongs to the queue {own}") as caught:
        wire.read_queued(FakeDelivery(body=body, properties=properties, queue=other))
    assert caught.value.reason == "wrong-queue"


@pytest.mark.parametrize("type_", contracts.COMMANDS)
def test_a_command_that_came_with_the_routing_key_of_the_other_queue_is_refused(type_: str) -> None:
    """A CC header brought it, and the broker does not ask whether its sender may use the keys in there."""
    command = contracts.COMMANDS[type_]
    body, properties = contracts.encode(EXAMPLES[type_]), FakeProperties(type=type_)
    for key, queue in QUEUES_BY_ROUTING_KEY.items():
        delivery = FakeDelivery(body=body, properties=properties, queue=command.QUEUE, routing_key=key)
        if queue == command.QUEUE:
            assert wire.read_queued(delivery).type == type_
        else:
            with pytest.raises(contracts.ContractError, match=f"with the routing key {key}") as caught:
                wire.read_queued(delivery)
            assert caught.value.reason == "wrong-queue"


@pytest.mark.parametrize("type_", contracts.COMMANDS)
def test_a_command_that_was_retried_or_redriven_comes_with_the_name_of_its_queue(type_: str) -> None:
    queue = contracts.COMMANDS[type_].QUEUE
    body, properties = contracts.encode(EXAMPLES[type_]), FakeProperties(type=type_)
    delivery = FakeDelivery(body=body, properties=properties, queue=queue, routing_key=queue)
    assert wire.read_queued(delivery).type == type_
