"""`replay` and `explain`, as an operator runs them."""

import json
from collections.abc import Iterator
from subprocess import CompletedProcess

import pika
import pytest
import sqlalchemy as sa

from allocation_contracts import Allocate, CreateBatch
from allocation_worker.testing.waiting import wait_until
from harness.checker.events import ReceivedEvent
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


def test_a_command_that_nothing_is_known_of(service: RunningService, client: ExternalClient) -> None:
    client.publish_raw(b"{}", routing_key="nonsense", properties=pika.BasicProperties(message_id="astray"))
    astray = run_verb("explain", "astray", settings=service.settings)
    assert (astray.returncode, astray.stdout) == (3, "")
    assert astray.stderr == (
        "Nothing is stored under the message_id 'astray': it was never sent, it waits in a queue or for a retry, it is "
        "a dead letter, or it is older than the history (messages that wait now: allocation.dead-letters 1).\n"
    )
