"""Each kind of bad message is dead-lettered with its reason and its body, and the other messages are answered."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from allocation_contracts import COMMANDS_EXCHANGE, ORDERS_QUEUE, STOCK_QUEUE, Allocate, CreateBatch
from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.adapters.rabbitmq.dead_letter_queue import open_dead_letters
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.crash_points import MESSAGE_ID
from harness.service import RunningService
from tests.e2e.poison import ALL, GOOD, Poison
from tests.raw_headers import TOO_LATE, allow, nested


def read_dead(service: RunningService) -> list[HeldDeadLetter]:
    with open_dead_letters([service.amqp_url], lambda _seen, _total: None) as letters:
        return list(letters)


def wait_dead(service: RunningService, count: int, within: float) -> None:
    wait_until(
        lambda: service.count_dead_letters() >= count,
        within=within,
        every=0.1,
        otherwise=lambda: f"{service.count_dead_letters()} of {count} are dead-lettered; {service.logs()[-3000:]}",
    )


@pytest.fixture(scope="module")
def channel(poisoned: RunningService) -> Iterator[BlockingChannel]:
    with closing(pika.BlockingConnection(pika.URLParameters(f"{poisoned.amqp_url}?heartbeat=0"))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def publish(channel: BlockingChannel, poison: Poison) -> None:
    channel.basic_publish(COMMANDS_EXCHANGE, poison.routing_key, poison.body, poison.properties)


@pytest.fixture(scope="module")
def poisoned(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(servers, tmp_path_factory.mktemp("poisoned")) as running:
        yield running


@pytest.fixture(scope="module")
def neighbours(poisoned: RunningService) -> Iterator[ExternalClient]:
    with poisoned.client() as client:
        yield client


@pytest.fixture(scope="module")
def dead(
    poisoned: RunningService, neighbours: ExternalClient, channel: BlockingChannel
) -> dict[str, list[HeldDeadLetter]]:
    """What became of all kinds, by name; they stood in the queues among good ones before anything took them."""
    consumer = poisoned.start("consume")
    poisoned.start("relay")
    neighbours.ask(CreateBatch(batchref="shelf", sku="SKU", qty=len(ALL)))
    consumer.terminate()
    for number, poison in enumerate(ALL):
        neighbours.send(CreateBatch(batchref=f"b{number}", sku=f"SKU-{number}", qty=1), message_id=f"batch-{number}")
        neighbours.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1), message_id=f"order-{number}")
        neighbours.wait_confirmed()
        publish(channel, poison)
    poisoned.start("consume")
    neighbours.wait_answered(within=60)
    wait_dead(poisoned, len(ALL), within=30)
    found: dict[str, list[HeldDeadLetter]] = {}
    for letter in read_dead(poisoned):
        found.setdefault(str((letter.properties.headers or {}).get("poison")), []).append(letter)
    return found


@pytest.mark.parametrize("poison", [pytest.param(poison, id=poison.name) for poison in ALL])
def test_it_is_dead_lettered_with_its_reason_and_its_bytes(
    poison: Poison, dead: dict[str, list[HeldDeadLetter]]
) -> None:
    [letter] = dead[poison.name]
    assert letter.reason == poison.reason
    assert letter.body == poison.body
    sent, kept = poison.properties, letter.properties
    for name in ("message_id", "type", "content_type", "correlation_id", "delivery_mode"):
        assert getattr(kept, name) == getattr(sent, name), name
    assert letter.routing_key == poison.routing_key
    assert letter.detail.endswith(".")
    assert letter.detail.isprintable()


@pytest.mark.parametrize(
    "poison", [pytest.param(poison, id=poison.name) for poison in ALL if poison.reason != "unroutable"]
)
def test_it_says_where_and_when_it_failed(poison: Poison, dead: dict[str, list[HeldDeadLetter]]) -> None:
    [letter] = dead[poison.name]
    headers = letter.properties.headers or {}
    queue = STOCK_QUEUE if poison.routing_key == "create-batch" else ORDERS_QUEUE
    assert headers["x-original-queue"] == queue
    assert headers["x-attempts"] == 1
    assert datetime.fromisoformat(str(headers["x-failed-at"])).tzinfo is not None


def test_nothing_else_is_dead_and_every_neighbour_was_answered_as_if_it_were_alone(
    dead: dict[str, list[HeldDeadLetter]], poisoned: RunningService, neighbours: ExternalClient
) -> None:
    assert dead.keys() == {poison.name for poison in ALL}
    report = poisoned.judge(neighbours)
    assert report.faults == []
    assert len(report.lines) == len(ALL)
    assert len(report.batches) == len(ALL) + 1


def test_a_timestamp_property_at_the_end_of_time_is_nobodys_business(
    dead: dict[str, list[HeldDeadLetter]], channel: BlockingChannel, neighbours: ExternalClient
) -> None:
    assert dead
    properties = Poison("timeless", "").properties
    properties.timestamp = 2**64 - 1
    channel.basic_publish(COMMANDS_EXCHANGE, "allocate", GOOD, properties)
    wait_until(
        lambda: bool(neighbours.answers("poison-timeless")),
        within=15,
        otherwise=lambda: f"No answer; the last events: {neighbours.received[-3:]}",
    )


KILLERS: dict[str, dict[str, Any]] = {"killer": {}, "nested": {"h": nested(600)}, "too late": {"h": TOO_LATE}}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["killer"], id="a process"),
        pytest.param([*KILLERS], id="processes and connections", marks=pytest.mark.long),
    ],
)
def test_what_kills_whatever_takes_it_ends_alone_in_the_dead_letters(
    names: list[str], fresh_service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch)
    with (
        fresh_service.client() as client,
        closing(pika.BlockingConnection(pika.URLParameters(fresh_service.amqp_url))) as connection,
    ):
        channel = connection.channel()
        channel.confirm_delivery()
        client.send(CreateBatch(batchref="b", sku="SKU", qty=1000))
        for number, name in enumerate(names):
            _send_lines(client, range(number * 100, number * 100 + 100))
            publish(channel, Poison(name, "", GOOD, overrides={"headers": KILLERS[name]}))
        _send_lines(client, range(900, 1000))
        fresh_service.start("relay")
        fresh_service.start("consume", crash=(MESSAGE_ID, "poison-killer"))
        wait_dead(fresh_service, len(names), within=90)
        client.wait_answered(within=60)
        report = fresh_service.judge(client)
        assert report.faults == []
        letters = {str(letter.properties.message_id): letter for letter in read_dead(fresh_service)}
    assert letters.keys() == {f"poison-{name}" for name in names}
    assert {letter.body for letter in letters.values()} == {GOOD}
    reasons = {letter.reason for id_, letter in letters.items() if id_ != "poison-killer"}
    assert letters["poison-killer"].reason == "delivery-limit"
    assert reasons <= {"undecodable-headers"}


def _send_lines(client: ExternalClient, numbers: range) -> None:
    for number in numbers:
        client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1))
    client.wait_confirmed()
