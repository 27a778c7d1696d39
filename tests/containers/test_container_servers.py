"""The broker and the database in containers, which are newer than the installed programs."""

from contextlib import closing

import pika
import psycopg2
import pytest
from sqlalchemy import make_url

from allocation_contracts import BatchCreated, CreateBatch
from allocation_worker.testing import AllocationStack
from allocation_worker.testing.servers import NotOursError, Servers

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]

QUEUE_ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 20,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": "allocation.dead-letters",
}


def test_the_broker_is_rabbitmq_4_3_or_newer(container_servers: Servers) -> None:
    version = str(container_servers.broker._api("GET", "overview")["rabbitmq_version"])

    assert [int(part) for part in version.split(".")[:2]] >= [4, 3]


def test_the_database_is_postgresql_18(container_servers: Servers) -> None:
    dsn = make_url(container_servers.database_url).set(drivername="postgresql")

    with closing(psycopg2.connect(dsn.render_as_string(hide_password=False))) as connection:
        assert connection.server_version // 10_000 == 18


def test_the_broker_takes_a_queue_of_the_wire_contract(container_servers: Servers) -> None:
    vhost = container_servers.broker.new_vhost()

    with closing(pika.BlockingConnection(pika.URLParameters(vhost))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("allocation.orders", durable=True, arguments=QUEUE_ARGUMENTS)
        channel.basic_publish("", "allocation.orders", b"{}", pika.BasicProperties(delivery_mode=2), mandatory=True)

    assert container_servers.broker.queue_depths(vhost) == {"allocation.orders": 1}


def test_every_virtual_host_is_empty(container_servers: Servers) -> None:
    assert container_servers.broker.queue_depths(container_servers.broker.new_vhost()) == {}


def test_containers_take_no_orders_from_here(container_servers: Servers) -> None:
    with pytest.raises(NotOursError):
        container_servers.broker.stop()


def test_the_stack_for_other_teams_runs_on_them_and_is_emptied(container_servers: Servers) -> None:
    with AllocationStack(servers=container_servers) as stack:
        for _ in range(2):
            stack.send(CreateBatch(batchref="batch-1", sku="CHAIR", qty=10))
            assert stack.expect(BatchCreated, batchref="batch-1", within=30).sequence == 1
            stack.reset()
            assert stack.events() == []
