"""A program in Node.js sends a command to the real worker, and prints its answer; it ends by itself, and has types."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from allocation_contracts import Allocated, BatchCreated, CommandRejected, CreateBatch, read_event
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.testing.servers import Servers
from harness.service import RunningService

pytestmark = pytest.mark.docs

EXAMPLE = Path(__file__).parents[2] / "examples" / "node" / "allocate.mjs"


@pytest.fixture(scope="module")
def service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(servers, tmp_path_factory.mktemp("service")) as running:
        running.start("consume")
        running.start("relay")
        with running.client() as client:
            stocked = client.ask(CreateBatch(batchref="batch-1", sku="RED-CHAIR", qty=10))
        assert stocked.type == BatchCreated.TYPE
        yield running


def allocate(amqp_url: str, *arguments: str, patience: str = "30") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", EXAMPLE, *arguments],
        env={**os.environ, "AMQP_URL": amqp_url, "PATIENCE": patience},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_prints_the_batch_that_the_line_was_allocated_to(service: RunningService) -> None:
    done = allocate(service.amqp_url, "order-17", "RED-CHAIR", "3", "order-17/1")
    assert done.returncode == 0, done.stderr
    type_, _, body = done.stdout.partition(" ")
    assert read_event(type_, body.encode()) == Allocated(
        orderid="order-17", sku="RED-CHAIR", lineid="", qty=3, batchref="batch-1", eta=None, sequence=2
    )


def test_it_prints_why_a_line_was_rejected(service: RunningService) -> None:
    done = allocate(service.amqp_url, "order-18", "RED-CHIAR", "3")
    assert done.returncode == 0, done.stderr
    type_, _, body = done.stdout.partition(" ")
    event = read_event(type_, body.encode())
    assert isinstance(event, CommandRejected)
    assert (event.reason, event.data["orderid"]) == ("unknown-sku", "order-18")


def test_it_ends_when_its_command_is_a_dead_letter(service: RunningService) -> None:
    done = allocate(service.amqp_url, "order-20", "RED-CHAIR", "three")
    assert done.returncode == 1
    assert 'It is a dead letter: invalid-body. "qty" in allocate.v1 must be an integer' in done.stderr


def test_it_ends_when_its_command_was_answered_before(service: RunningService) -> None:
    first = allocate(service.amqp_url, "order-21", "RED-CHAIR", "1", "order-21/1")
    repeated = allocate(service.amqp_url, "order-21", "RED-CHAIR", "1", "order-21/1", patience="2")
    assert repeated.returncode == 1
    assert "No event answered order-21/1 within 2 s." in repeated.stderr
    assert "was answered before under this MESSAGE_ID" in repeated.stderr

    under_another_id = allocate(service.amqp_url, "order-21", "RED-CHAIR", "1", "order-21/2")
    assert under_another_id.stdout == first.stdout


def test_it_says_how_it_is_used(service: RunningService) -> None:
    done = allocate(service.amqp_url, "order-22")
    assert (done.returncode, done.stderr) == (2, "usage: node allocate.mjs ORDERID SKU QTY [MESSAGE_ID]\n")


def test_its_types_are_those_of_the_contracts() -> None:
    done = subprocess.run(
        ["npm", "run", "check"], cwd=EXAMPLE.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_it_says_so_where_no_queue_takes_the_command(servers: Servers) -> None:
    url = servers.broker.new_vhost()
    topology.declare([url], retry_delays=[1])

    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.exchange_delete("allocation.commands")
        channel.exchange_declare("allocation.commands", "topic", durable=True)
    done = allocate(url, "order-19", "RED-CHAIR", "3")
    assert done.returncode == 1
    assert "No queue takes it" in done.stderr
