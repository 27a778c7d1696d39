"""Each rule of the domain, as an external program sees it over AMQP."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from pika.spec import BasicProperties

import allocation_contracts as contracts
from allocation_contracts import Allocate, ChangeBatchQuantity, CreateBatch, Deallocate
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient, read_dead_letters
from harness.service import RunningService

TOMORROW, LATER = "2030-01-01", "2030-06-01"

Name = Callable[[str], str]


@pytest.fixture
def a() -> Name:
    """Names nobody else uses: a("sku") is the same within a test."""
    suffix = uuid4().hex[:8]
    return lambda name: f"{name}-{suffix}"


def create(client: ExternalClient, ref: str, sku: str, qty: int, eta: str | None = None) -> None:
    command = contracts.read_command(
        "create-batch.v1",
        b'{"batchref":"%s","sku":"%s","qty":%d,"eta":%s}'
        % (ref.encode(), sku.encode(), qty, f'"{eta}"'.encode() if eta else b"null"),
    )
    assert client.ask(command).type == "batch-created.v1"


def test_a_line_goes_to_the_warehouse_before_any_shipment(client: ExternalClient, a: Name) -> None:
    create(client, a("ship"), a("sku"), 100, TOMORROW)
    create(client, a("shelf"), a("sku"), 100)
    event = client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=10))
    assert event.type == "allocated.v1"
    assert event.data == {
        "orderid": a("o"), "sku": a("sku"), "lineid": "", "qty": 10, "batchref": a("shelf"), "eta": None, "sequence": 3,
    }  # fmt: skip


def test_a_line_goes_to_the_earliest_shipment_that_can_take_it_whole(client: ExternalClient, a: Name) -> None:
    create(client, a("late"), a("sku"), 100, LATER)
    create(client, a("soon"), a("sku"), 5, TOMORROW)
    assert client.ask(Allocate(orderid=a("o1"), sku=a("sku"), qty=10)).data["batchref"] == a("late")
    event = client.ask(Allocate(orderid=a("o2"), sku=a("sku"), qty=5))
    assert (event.data["batchref"], event.data["eta"]) == (a("soon"), TOMORROW)


def test_a_shortage_tells_what_could_be_had_and_when(client: ExternalClient, a: Name) -> None:
    create(client, a("shelf"), a("sku"), 3)
    create(client, a("ship"), a("sku"), 7, TOMORROW)
    event = client.ask(Allocate(orderid=a("o1"), sku=a("sku"), qty=10))
    assert event.type == "out-of-stock.v1"
    assert (event.data["largest_available"], event.data["next_eta"]) == (7, None)
    create(client, a("next-ship"), a("sku"), 5, LATER)
    event = client.ask(Allocate(orderid=a("o2"), sku=a("sku"), qty=10))
    assert (event.data["largest_available"], event.data["next_eta"]) == (7, LATER)


def test_a_line_out_of_stock_is_tried_again(client: ExternalClient, a: Name) -> None:
    create(client, a("b1"), a("sku"), 3)
    assert client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=10)).type == "out-of-stock.v1"
    create(client, a("b2"), a("sku"), 10)
    assert client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=10)).data["batchref"] == a("b2")


def test_the_same_line_again_is_announced_again_word_for_word(client: ExternalClient, a: Name) -> None:
    create(client, a("b"), a("sku"), 10)
    line = Allocate(orderid=a("o"), sku=a("sku"), qty=10, lineid="1")
    first = client.ask(line, correlation_id="first")
    again = client.ask(line, correlation_id="again")
    assert (again.message_id, again.body) == (first.message_id, first.body)
    assert again.causation_id != first.causation_id
    assert (first.correlation_id, again.correlation_id) == ("first", "again")


def test_the_same_line_in_another_quantity_is_rejected(client: ExternalClient, a: Name) -> None:
    create(client, a("b"), a("sku"), 10)
    client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=1))
    event = client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=2))
    assert event.type == "command-rejected.v1"
    assert event.data["reason"] == "line-quantity-conflict"
    assert event.data["command"] == "allocate.v1"
    assert event.data["data"]["qty"] == 2


def test_an_unknown_sku_is_rejected_after_a_short_grace(client: ExternalClient, a: Name) -> None:
    event = client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=1))
    assert (event.type, event.data["reason"]) == ("command-rejected.v1", "unknown-sku")


def test_an_allocate_that_overtakes_its_batch_is_answered_once_the_batch_is_there(
    client: ExternalClient, a: Name
) -> None:
    early = client.send(Allocate(orderid=a("o"), sku=a("sku"), qty=1))
    client.wait_confirmed()
    create(client, a("b"), a("sku"), 10)
    client.wait_answered([early])
    assert [event.type for event in client.answers(early)] == ["allocated.v1"]


def test_a_cancelled_line_frees_its_stock_and_stays_cancelled(client: ExternalClient, a: Name) -> None:
    create(client, a("b"), a("sku"), 10)
    client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=10))
    freed = client.ask(Deallocate(orderid=a("o"), sku=a("sku")))
    assert (freed.type, freed.data["batchref"], freed.data["qty"]) == ("deallocated.v1", a("b"), 10)
    assert freed.data["reason"] == "cancelled"
    late = client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=10))
    assert (late.type, late.data["reason"]) == ("command-rejected.v1", "line-cancelled")
    assert client.ask(Allocate(orderid=a("other"), sku=a("sku"), qty=10)).type == "allocated.v1"


def test_a_line_that_was_never_seen_can_be_cancelled(client: ExternalClient, a: Name) -> None:
    event = client.ask(Deallocate(orderid=a("o"), sku=a("sku")))
    assert (event.type, event.data["batchref"]) == ("deallocated.v1", None)
    create(client, a("b"), a("sku"), 10)
    late = client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=1))
    assert late.data["reason"] == "line-cancelled"


def test_a_batch_created_again_is_announced_again_and_with_other_content_rejected(
    client: ExternalClient, a: Name
) -> None:
    command = CreateBatch(batchref=a("b"), sku=a("sku"), qty=10, eta=None)
    first, again = client.ask(command), client.ask(command)
    assert (again.message_id, again.body) == (first.message_id, first.body)
    other = client.ask(CreateBatch(batchref=a("b"), sku=a("other"), qty=10, eta=None))
    assert (other.type, other.data["reason"]) == ("command-rejected.v1", "batch-exists")


def test_a_change_of_an_unknown_batch_is_rejected(client: ExternalClient, a: Name) -> None:
    event = client.ask(ChangeBatchQuantity(batchref=a("b"), qty=1))
    assert (event.type, event.data["reason"]) == ("command-rejected.v1", "unknown-batch")


def test_a_batch_that_shrinks_moves_the_lines_that_asked_last_and_no_more_than_needed(
    client: ExternalClient, a: Name
) -> None:
    create(client, a("small"), a("sku"), 30)
    for order in ("o1", "o2", "o3"):
        client.ask(Allocate(orderid=a(order), sku=a("sku"), qty=10))
    create(client, a("big"), a("sku"), 10)
    change = client.send(ChangeBatchQuantity(batchref=a("small"), qty=12))
    wait_until(lambda: len(client.answers(change)) == 5, within=30, otherwise=lambda: str(client.answers(change)))
    events = client.answers(change)
    assert [event.type for event in events] == [
        "batch-quantity-changed.v1", "deallocated.v1", "deallocated.v1", "allocated.v1", "out-of-stock.v1",
    ]  # fmt: skip
    assert [event.data["orderid"] for event in events[1:]] == [a("o3"), a("o2"), a("o2"), a("o3")]
    assert events[0].data["previous_qty"] == 30
    assert events[1].data["reason"] == "batch-quantity-changed"
    assert events[3].data["batchref"] == a("big")


def test_a_repeat_of_a_message_id_has_one_effect_and_one_outcome(client: ExternalClient, a: Name) -> None:
    create(client, a("b"), a("sku"), 10)
    line = Allocate(orderid=a("o"), sku=a("sku"), qty=1)
    for _ in range(3):
        client.send(line, message_id=a("id"))
    client.wait_answered([a("id")])
    marker = client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=1, lineid="marker"))
    assert len(client.answers(a("id"))) == 1
    assert marker.data["sequence"] == 3


def test_the_same_id_with_another_body_is_dead_lettered(
    client: ExternalClient, service: RunningService, a: Name
) -> None:
    create(client, a("b"), a("sku"), 10)
    client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=1), message_id=a("id"))
    client.publish_raw(
        b'{"orderid":"another","sku":"another","qty":1}',
        routing_key="allocate",
        properties=BasicProperties(message_id=a("id"), type="allocate.v1", headers={"kept": "yes"}, app_id="shop"),
    )
    [(properties, body)] = read_dead_letters(service.amqp_url, expected=1)
    headers = properties.headers or {}
    assert headers["x-reason"] == "message-id-conflict"
    assert a("id") in str(headers["x-detail"])
    assert (headers["x-original-queue"], headers["x-attempts"], headers["kept"]) == ("allocation.orders", 1, "yes")
    assert body == b'{"orderid":"another","sku":"another","qty":1}'
    assert (properties.message_id, properties.type, properties.app_id) == (a("id"), "allocate.v1", "shop")


@pytest.mark.parametrize("headers", [{}, {"CC": ["create-batch"]}, {"BCC": ["create-batch"]}], ids=str)
def test_who_may_send_orders_only_creates_no_batch_by_their_routing_key(
    client: ExternalClient, service: RunningService, a: Name, headers: dict[str, Any]
) -> None:
    """The broker does not look at a sender's topic permissions for the keys in a CC header."""
    body = contracts.encode(CreateBatch(batchref=a("b"), sku=a("sku"), qty=1_000_000, eta=None))
    client.publish_raw(
        body,
        routing_key="allocate",
        properties=BasicProperties(message_id=a("id"), type="create-batch.v1", headers=headers),
    )
    for properties, _ in read_dead_letters(service.amqp_url, expected=1 + len(headers)):
        assert (properties.headers or {})["x-reason"] == "wrong-queue"
    answer = client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=1))
    assert (answer.type, answer.data["reason"]) == ("command-rejected.v1", "unknown-sku")


@pytest.mark.parametrize(
    ("body", "properties", "reason"),
    [
        (b"{", {"message_id": "p1", "type": "allocate.v1"}, "invalid-json"),
        (b'{"orderid":"o","sku":"s","qty":true}', {"message_id": "p2", "type": "allocate.v1"}, "invalid-body"),
        (b"{}", {"message_id": "p3", "type": "allocate.v2"}, "unknown-type"),
        (b"{}", {"type": "allocate.v1"}, "missing-message-id"),
        (b"{}", {"message_id": "p4", "type": "allocate.v1", "content_type": "text/plain"}, "unsupported-content-type"),
    ],
)
def test_a_broken_message_is_dead_lettered_alone_with_its_reason(
    client: ExternalClient, service: RunningService, a: Name, body: bytes, properties: dict[str, str], reason: str
) -> None:
    create(client, a("b"), a("sku"), 10)
    client.publish_raw(body, routing_key="allocate", properties=BasicProperties(**properties))  # type: ignore[arg-type] # keyword arguments of several types
    assert client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=1)).type == "allocated.v1"
    [(dead, dead_body)] = read_dead_letters(service.amqp_url, expected=1)
    assert (dead.headers or {})["x-reason"] == reason
    assert dead_body == body


def test_what_harms_nobody_is_taken_as_absent(fresh_service: RunningService) -> None:
    """Null for a line without an id, empty properties, and a trace context that no tracer could read."""
    for verb in ("consume", "relay"):
        fresh_service.start(verb)
    with fresh_service.client() as client:
        create(client, "b", "LAMP", 10)
        body = json.dumps({"orderid": "o", "sku": "LAMP", "qty": 1, "lineid": None}).encode()
        properties = BasicProperties(
            message_id="id", type="allocate.v1", content_type="", correlation_id="", headers={"traceparent": 2**40}
        )
        client.publish_raw(body, routing_key="allocate", properties=properties)
        wait_until(lambda: bool(client.answers("id")), within=20, otherwise=lambda: str(client.received[-3:]))
        [event] = client.answers("id")
    assert (event.type, event.data["lineid"], event.correlation_id) == ("allocated.v1", "", "id")
    assert event.properties.headers == {"causation_id": "id"}


def test_an_unroutable_command_lands_in_the_dead_letters(client: ExternalClient, service: RunningService) -> None:
    client.publish_raw(b"{}", routing_key="nowhere", properties=BasicProperties(message_id="lost"))
    [(properties, _)] = read_dead_letters(service.amqp_url, expected=1)
    assert properties.message_id == "lost"


def test_what_travels_beside_a_command_comes_back_beside_its_event(client: ExternalClient, a: Name) -> None:
    create(client, a("b"), a("sku"), 10)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    event = client.ask(Allocate(orderid=a("o"), sku=a("sku"), qty=1), traceparent=trace)
    assert event.correlation_id == event.causation_id
    assert event.properties.headers == {"causation_id": event.causation_id, "traceparent": trace}
    assert (event.properties.app_id, event.properties.delivery_mode) == ("allocation-worker", 2)
    assert event.properties.content_type == "application/json"
    assert event.properties.timestamp
    assert event.routing_key == "allocated"


def test_everything_that_this_module_did_adds_up(client: ExternalClient, service: RunningService) -> None:
    client.wait_confirmed()
    assert service.judge(client).faults == []
