"""What the scenarios have in common."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pika
import psycopg2
from sqlalchemy import make_url

from allocation_contracts import EVENTS_EXCHANGE, Allocate, CreateBatch
from allocation_worker.testing.waiting import wait_until
from harness.checker.events import check
from harness.client import ExternalClient
from harness.service import RunningService

PATIENCE = 20.0
"""Seconds until an answer that has not come counts as lost."""

WAITING_FOR_LOCKS = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def answered(
    client: ExternalClient, message_ids: Sequence[str] | None = None, *, within: float = PATIENCE
) -> str | None:
    """What is missing, if anything is."""
    client.wait_confirmed()
    try:
        client.wait_answered(message_ids, within=within)
    except TimeoutError as error:
        return str(error)
    return None


def faults_of(service: RunningService, client: ExternalClient) -> Sequence[str]:
    """The checker's verdict, also where the service does not come to rest."""
    if answered(client):
        return check(client.sent, client.received).faults
    try:
        return service.judge(client).faults
    except TimeoutError as error:
        return [str(error)[:300], *check(client.sent, client.received).faults]


def not_seen(condition: Callable[[], bool], sentence: str, *, within: float = PATIENCE) -> list[str]:
    """Wait for what the scenario builds on; where a bug prevents it, the scenario goes on with this sentence."""
    try:
        wait_until(condition, within=within, every=0.1, otherwise=lambda: sentence)
    except TimeoutError:
        return [sentence]
    return []


@contextmanager
def database(service: RunningService) -> "Iterator[psycopg2.extensions.cursor]":
    dsn = make_url(service.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        yield cursor


def set_for_sessions(service: RunningService, setting: str) -> None:
    """Change a setting for the sessions of the database that begin from now on."""
    with database(service) as cursor:
        cursor.execute(f'ALTER DATABASE "{make_url(service.database_url).database}" SET {setting}')
        cursor.connection.commit()


@contextmanager
def locked(service: RunningService, sku: str) -> Iterator[None]:
    """Lock a product, as a consumer does that decides on it."""
    with database(service) as cursor:
        cursor.execute("SELECT 1 FROM products WHERE sku = %s FOR UPDATE", [sku])
        yield


@contextmanager
def open_channel(service: RunningService) -> Iterator[Any]:
    with pika.BlockingConnection(pika.URLParameters(service.amqp_url)) as connection:
        yield connection.channel()


def one(service: RunningService, query: str) -> int:
    with database(service) as cursor:
        cursor.execute(query)
        [(number,)] = cursor.fetchall()
        return int(number)


def rows(service: RunningService, query: str, least: int) -> list[str]:
    return not_seen(lambda: one(service, query) >= least, f"Fewer than {least}: {query}.")


def limit_queue(service: RunningService, queue: str, length: int) -> None:
    """Make a queue of events that refuses more than so many."""
    vhost = service.amqp_url.rpartition("/")[2]
    policy = f'{{"max-length": {length}, "overflow": "reject-publish"}}'
    service.servers.broker.ctl(
        "set_policy", "--vhost", vhost, "short", f"^{re.escape(queue)}", policy, "--apply-to", "queues"
    )
    with open_channel(service) as opened:
        opened.queue_declare(queue, durable=True)
        opened.queue_bind(queue, EVENTS_EXCHANGE, "#")


def send_batches_and_orders(client: ExternalClient) -> None:
    send_batches(client)
    send_orders(client)


def send_batches(client: ExternalClient) -> None:
    for batch, qty in (("b1", 20), ("b2", 30)):
        client.send(CreateBatch(batchref=batch, sku="SKU", qty=qty))
    client.wait_confirmed()


def send_orders(client: ExternalClient) -> None:
    for number in range(20):
        client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=2))
    client.wait_confirmed()
