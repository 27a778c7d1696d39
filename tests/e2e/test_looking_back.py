"""`replay` and `explain`, as an operator runs them."""

import json
from collections.abc import Iterator
from subprocess import CompletedProcess

import pika
import pytest
import sqlalchemy as sa

from allocation_contracts import Allocate, CreateBatch, Deallocate
from allocation_worker.testing.waiting import wait_until
from harness.checker.messages import ReceivedEvent
from harness.client import ExternalClient
from harness.processes import run_verb
from harness.service import RunningService

QUEUE = "catch-up"
ORDERS = 700
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def lamps(service: RunningService, client: ExternalClient) -> list[ReceivedEvent]:
    """A SKU with some more events than are announced again at one go; they are all published, and marked."""
    client.ask(CreateBatch(batchref="lamps", sku="LAMP", qty=ORDERS))
    for number in range(ORDERS):
        client.send(Allocate(orderid=f"o{number}", sku="LAMP", qty=1), message_id=f"m{number}", traceparent=TRACE)
    client.wait_answered()
    wait_until(lambda: unpublished(service) == 0, within=20, otherwise=lambda: f"{unpublished(service)} unpublished")
    return [event for event in client.received if event.data.get("sku") == "LAMP"]


def unpublished(service: RunningService) -> int:
    return int(str(execute(service, "SELECT count(*) FROM outbox_pages WHERE published_at IS NULL")))


def execute(service: RunningService, statement: str) -> object:
    engine = sa.create_engine(service.database_url)
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement))
        row = result.one() if result.returns_rows else None
    engine.dispose()
    return row and row[0]


@pytest.fixture
def queue(service: RunningService) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    with pika.BlockingConnection(pika.URLParameters(service.amqp_url)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        yield channel
        channel.queue_delete(QUEUE)


def replay(service: RunningService, *options: str, sku: str = "LAMP", queue: str = QUEUE) -> CompletedProcess[str]:
    return run_verb("replay", "--sku", sku, "--queue", queue, *options, settings=service.settings)


def test_a_range_comes_again_exactly_as_it_was(
    service: RunningService, lamps: list[ReceivedEvent], queue: pika.adapters.blocking_connection.BlockingChannel
) -> None:
    done = replay(service, "--from", "10", "--to", "690")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"The events 10 to 690 of SKU 'LAMP' were announced again to the queue {QUEUE}: 681, all confirmed.\n"
    )
    again = []
    while True:
        method, properties, body = queue.basic_get(QUEUE, auto_ack=True)
        if method is None or properties is None:
            break
        again.append((properties, body))
    assert [body for _, body in again] == [event.body for event in lamps[9:690]]
    for (properties, _), event in zip(again, lamps[9:690], strict=True):
        headers = dict(properties.headers or {})
        headers.pop("x-delivery-count", None)
        properties.headers = headers
        event.properties.headers = {
            name: value for name, value in (event.properties.headers or {}).items() if name != "x-delivery-count"
        }
        assert properties == event.properties


@pytest.mark.usefixtures("lamps")
def test_an_unknown_sku_and_an_absent_queue_are_refused_in_one_sentence(
    service: RunningService, queue: pika.adapters.blocking_connection.BlockingChannel
) -> None:
    unknown = replay(service, "--from", "1", sku="LAPM")
    assert (unknown.returncode, unknown.stdout) == (3, "")
    assert unknown.stderr == "SKU 'LAPM' was never heard of; look at its spelling.\n"
    queue.queue_delete(QUEUE)
    absent = replay(service, "--from", "1")
    assert (absent.returncode, absent.stdout) == (69, "")
    assert absent.stderr == f"There is no queue {QUEUE} on the broker; declare it, then try again.\n"


@pytest.mark.parametrize("own", ["allocation.orders", "allocation.stock.retry.5s", "allocation.dead-letters"])
def test_events_are_not_announced_to_a_queue_of_the_workers_own(service: RunningService, own: str) -> None:
    refused = replay(service, "--from", "1", queue=own)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"The queue {own} is the worker's own; name the queue of the one who missed events.\n"


@pytest.mark.usefixtures("lamps")
def test_the_story_of_a_command(service: RunningService) -> None:
    told = run_verb("explain", "m7", settings=service.settings)
    assert told.returncode == 0, told.stderr
    assert "m7: taken at 20" in told.stdout
    assert "allocate.v1 asked for 1 for order o7, SKU LAMP: allocated to batch lamps, in the warehouse." in told.stdout
    assert "took the line" in told.stdout
    assert "Events: 1, 1 of them published" in told.stdout
    data = json.loads(run_verb("explain", "m7", "--json", settings=service.settings).stdout)
    assert [each["verdict"] for each in data["decisions"][0]["considered"]] == ["took it"]
    assert data["decisions"][0]["agrees"] is True


def test_a_command_that_nothing_is_known_of(service: RunningService) -> None:
    unknown = run_verb("explain", "nobody/1", settings=service.settings)
    assert (unknown.returncode, unknown.stdout) == (3, "")
    assert unknown.stderr.startswith(
        "Nothing is stored under the message_id 'nobody/1': it was never sent, it waits in a queue or for a retry, or "
        "it is older than the history (messages that wait now: "
    )


def test_a_command_that_is_a_dead_letter(service: RunningService, client: ExternalClient) -> None:
    client.publish_raw(
        b'{"orderid":"astray-1","sku":"LOST","qty":0}',
        routing_key="allocate",
        properties=pika.BasicProperties(message_id="astray", type="allocate.v1", content_type="application/json"),
    )
    wait_until(
        lambda: "astray" in run_verb("explain", "astray", settings=service.settings).stdout,
        within=30,
        otherwise=service.logs,
    )
    astray = run_verb("explain", "astray", settings=service.settings)
    assert astray.returncode == 0
    assert astray.stdout.startswith("astray: it is a dead letter, and had no effect.\nDead letters; ")
    assert "  invalid-body  allocate.v1  " in astray.stdout
    by_order = run_verb("explain", "--order", "astray-1", "--json", settings=service.settings)
    told = json.loads(by_order.stdout)
    assert (told["events"], [each["message_id"] for each in told["dead_letters"]]) == ([], ["astray"])


def test_all_that_has_happened_to_an_order_and_to_a_sku(service: RunningService, client: ExternalClient) -> None:
    client.ask(CreateBatch(batchref="vases", sku="VASE", qty=9))
    client.ask(Allocate(orderid="vase-1", sku="VASE", qty=2), message_id="vase-1/1")
    client.ask(Allocate(orderid="vase-1", sku="VASE", qty=3), message_id="vase-1/2")
    client.ask(Deallocate(orderid="vase-1", sku="VASE"), message_id="vase-1/3")
    by_order = run_verb("explain", "--order", "vase-1", settings=service.settings)
    assert by_order.returncode == 0, by_order.stderr
    told = [line for line in by_order.stdout.splitlines() if "vase-1/" in line]
    for line, change in zip(
        told, ("2 of batch vases", "line-quantity-conflict", "2 back to batch vases (cancelled)"), strict=True
    ):
        assert change in line
    by_sku = json.loads(run_verb("explain", "--sku", "VASE", "--json", settings=service.settings).stdout)
    assert [each["type"] for each in by_sku["events"]] == [
        "batch-created.v1", "allocated.v1", "command-rejected.v1", "deallocated.v1",
    ]  # fmt: skip
    nothing = run_verb("explain", "--order", "vase", settings=service.settings)
    assert (nothing.returncode, nothing.stdout) == (3, "")
    assert nothing.stderr == "Nothing in the history and the dead letters is about order vase.\n"
