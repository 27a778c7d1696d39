"""The limits of `docker/rabbitmq-limits.conf`, as they act on publishers and on the worker."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from allocation_contracts import ORDERS_QUEUE, STOCK_QUEUE, Allocate, CreateBatch
from allocation_contracts.amqp import Publisher, RefusedError
from allocation_contracts.events import MAX_EVENT_BYTES
from allocation_worker.adapters.rabbitmq.layout import READ_MODEL_QUEUE
from allocation_worker.testing.waiting import wait_until
from harness.service import RunningService

ROOT = Path(__file__).parents[2]
LIMITS = ROOT / "docker" / "rabbitmq-limits.conf"
LARGE = "x" * 250


def limit(name: str) -> str:
    [found] = re.findall(rf"^{re.escape(name)} = (.*)$", LIMITS.read_text("utf-8"), flags=re.MULTILINE)
    return str(found)


def test_every_valid_message_fits() -> None:
    assert int(limit("max_message_size")) >= 2 * MAX_EVENT_BYTES


def test_only_the_queues_of_commands_are_limited() -> None:
    matches = re.compile(limit("default_policies.operator.allocation-commands.queue_pattern")).search
    others = [READ_MODEL_QUEUE, "allocation.dead-letters", f"{ORDERS_QUEUE}.retrying.5s", "shipping.allocations"]
    assert [queue for queue in (ORDERS_QUEUE, STOCK_QUEUE, *others) if matches(queue)] == [ORDERS_QUEUE, STOCK_QUEUE]


def test_the_compose_file_uses_them() -> None:
    assert "./rabbitmq-limits.conf:/etc/rabbitmq/conf.d/" in (ROOT / "docker" / "compose.yaml").read_text("utf-8")


def test_a_full_queue_refuses_orders_and_nothing_else_and_loses_none(fresh_service: RunningService) -> None:
    vhost = unquote(urlsplit(fresh_service.amqp_url).path[1:])
    pattern = limit("default_policies.operator.allocation-commands.queue_pattern")
    fresh_service.servers.broker.ctl(
        "set_operator_policy",
        "--vhost",
        vhost,
        "limits",
        pattern,
        '{"max-length-bytes": 20000}',
        "--apply-to",
        "queues",
    )
    with fresh_service.client() as client, Publisher(fresh_service.amqp_url) as publisher:
        taken = 0

        def publish_all() -> None:
            nonlocal taken
            for number in range(1_000):
                order = Allocate(orderid=f"{number}-{LARGE}"[:255], sku="LAMP", qty=1)
                publisher.publish(order, message_id=f"m{number}")
                taken += 1

        with pytest.raises(RefusedError):
            publish_all()
        client.send(CreateBatch(batchref="b", sku="LAMP", qty=1_000))
        client.wait_confirmed()
        fresh_service.start("consume")
        fresh_service.start("relay")
        wait_until(
            lambda: {f"m{number}" for number in range(taken)} <= {each.causation_id for each in client.received},
            within=60,
            otherwise=fresh_service.logs,
        )
        assert taken > 10
        publisher.publish(Allocate(orderid="one-more", sku="LAMP", qty=1), message_id="one-more")
