"""Short runs of the real processes, each of which brings certain bugs to light; what is wrong comes back in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date
from typing import Any

import pika
import psycopg2
import pytest
from pika.spec import BasicProperties
from sqlalchemy import make_url

from allocation_contracts import (
    COMMANDS_EXCHANGE,
    DEAD_LETTERS,
    EVENTS_EXCHANGE,
    Allocate,
    ChangeBatchQuantity,
    CreateBatch,
    Deallocate,
)
from allocation_worker.testing.waiting import wait_until
from harness.checker.events import check
from harness.client import ExternalClient, read_dead_letters
from harness.processes import WorkerProcess
from harness.service import RunningService
from tests.raw_headers import MILLISECONDS, allow

PATIENCE = 20.0
"""Seconds until an answer that has not come counts as lost."""

BOTH_WAIT = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
OFFERED = "SELECT count(*) FROM outbox WHERE published_at IS NOT NULL OR returned_at IS NOT NULL"


def crashes(service: RunningService) -> Sequence[str]:
    """Both processes killed between two steps, one step after the other."""
    with service.outside() as outside:
        first = service.start("consume")
        _batches(outside)
        missed = _rows(service, "SELECT count(*) FROM batches", 2)
        first.terminate()
        _orders(outside)
        for point in ("handled", "flushed", "committed"):
            _killed(service.start("consume", crash=(point, 1), settings={"ALLOCATION_GROUP_LIMIT": "5"}))
        service.start("consume")
        missed += _rows(service, "SELECT count(*) FROM outbox", 20)
        for point in ("published", "confirmed", "marked"):
            _killed(service.start("relay", crash=(point, 1), settings={"ALLOCATION_RELAY_WINDOW": "4"}))
        service.start("relay")
        return [*missed, *_faults(service, outside)]


def race(service: RunningService) -> Sequence[str]:
    """Two consumers at the same products; and a cancellation that both have in hand at the same time."""
    limits = {"ALLOCATION_GROUP_LIMIT": "60", "ALLOCATION_PREFETCH": "60"}
    with service.outside() as outside:
        consumers = [service.start("consume", settings=limits) for _ in range(2)]
        service.start("relay")
        skus = [f"SKU-{number}" for number in range(60)]
        for sku in skus:
            outside.send(CreateBatch(batchref=f"{sku}/b", sku=sku, qty=60))
        outside.wait_answered(within=PATIENCE)
        missed: list[str] = []
        for part in range(6):
            with _locked(service, skus[30]):  # so that both get stuck with some products in hand
                for number in range(600 * part, 600 * part + 600):
                    outside.send(Allocate(orderid=f"o{number}", sku=skus[number % 60], qty=1))
                missed += _rows(service, BOTH_WAIT, 2)
            _answered(outside)
        with _locked(service, skus[0]):
            cancelled = outside.send(Deallocate(orderid="o0", sku=skus[0]))
            outside.send(Deallocate(orderid="o0", sku=skus[0]), message_id=cancelled)
            missed += _rows(service, BOTH_WAIT, 2)
        faults = [*missed, *_faults(service, outside)]
        for consumer in consumers:
            consumer.terminate()  # a backend reports what it has counted when it ends
        deadlocks = _one(service, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return [*faults, f"There were {deadlocks} deadlocks."] if deadlocks else faults


def repeats(service: RunningService) -> Sequence[str]:
    """Messages that come again, after the effect of the first has been undone."""
    with service.outside() as outside:
        service.start("consume")
        service.start("relay")
        outside.ask(CreateBatch(batchref="b", sku="SKU", qty=10))
        line, cancellation = Allocate(orderid="o", sku="SKU", qty=1), Deallocate(orderid="o", sku="SKU")
        first = outside.ask(line).causation_id
        second = outside.ask(cancellation).causation_id
        outside.send(cancellation, message_id=second)
        outside.send(line, message_id=first)
        outside.ask(Allocate(orderid="last", sku="SKU", qty=1))
        return _faults(service, outside)


def late_subscriber(service: RunningService) -> Sequence[str]:
    """At first no queue is bound for any event. It is bound in the middle of an offer, so order is not promised."""
    outside = service.outside()
    service.start("consume")
    service.start("relay")
    _a_little_of_everything(outside)
    missed = _rows(service, OFFERED, 20)
    with outside:
        return [*missed, *(fault for fault in _faults(service, outside) if "was due" not in fault)]


def full_queue(service: RunningService) -> Sequence[str]:
    """The subscriber's queue takes five events, and refuses more until somebody reads them; another takes all."""
    outside = service.outside()
    vhost = service.amqp_url.rpartition("/")[2]
    service.servers.broker.ctl(
        *("set_policy", "--vhost", vhost, "short", "^outside", '{"max-length": 5, "overflow": "reject-publish"}'),
        *("--apply-to", "queues"),
    )
    with pika.BlockingConnection(pika.URLParameters(service.amqp_url)) as connection:
        channel = connection.channel()
        channel.queue_declare(outside.queue, durable=True)
        channel.queue_bind(outside.queue, EVENTS_EXCHANGE, "#")
        channel.queue_declare("healthy", durable=True)
        channel.queue_bind("healthy", EVENTS_EXCHANGE, "#")
    service.start("consume")
    relay = service.start("relay")
    _a_little_of_everything(outside)
    missed = _rows(service, "SELECT count(*) FROM outbox", 20)
    missed += _missed(lambda: "events_refused" in relay.log, "No event was refused.")
    flood = _flood(service, "healthy", most=200, within=4.0)
    with outside:
        return [*missed, *flood, *_faults(service, outside)]


def dead_letters_away(service: RunningService) -> Sequence[str]:
    """The queue of dead letters is not bound when a message breaks the contract."""
    body = b"  {never closed  "
    with service.outside() as outside, _channel(service) as channel:
        consume = service.start("consume")
        service.start("relay")
        channel.queue_unbind(DEAD_LETTERS, DEAD_LETTERS, "")
        properties = BasicProperties(message_id="broken", type=Allocate.TYPE, delivery_mode=2)
        channel.basic_publish(COMMANDS_EXCHANGE, Allocate.ROUTING_KEY, body, properties)
        missed = _missed(lambda: "copy_not_taken" in consume.log, "The copy found a queue.")
        channel.queue_bind(DEAD_LETTERS, DEAD_LETTERS, "")
        found = read_dead_letters(service.amqp_url, expected=1, within=10)
        faults = [] if found else ["The broken message is not in the dead letters."]
        faults += [f"Its bytes have become {taken!r}." for _, taken in found if taken != body]
        outside.ask(CreateBatch(batchref="b", sku="SKU", qty=10))
        return [*missed, *faults, *_faults(service, outside)]


def undecodable_headers(service: RunningService) -> Sequence[str]:
    """Among the orders are some with a timestamp in milliseconds in their headers."""
    with service.outside() as outside, _channel(service) as channel, pytest.MonkeyPatch.context() as patch:
        allow(patch)
        consume = service.start("consume")
        service.start("relay")
        outside.ask(CreateBatch(batchref="b", sku="SKU", qty=10))
        for number in range(3):
            outside.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1))
            outside.wait_confirmed()
            headers: dict[str, Any] = {"at": MILLISECONDS}
            properties = BasicProperties(message_id=f"m{number}", headers=headers, delivery_mode=2)
            channel.basic_publish(COMMANDS_EXCHANGE, Allocate.ROUTING_KEY, b"{}", properties)
        missed = [missing] if (missing := _answered(outside)) else []
        faults = _missed(
            lambda: channel.queue_declare(DEAD_LETTERS, passive=True).method.message_count == 3,
            "There are not 3 dead letters.",
        )
        faults += ["The connection was lost."] if "amqp_lost" in consume.log else []
        return [*missed, *faults, *_faults(service, outside)]


def rules(service: RunningService) -> Sequence[str]:
    """One thing after the other, through every rule."""
    with service.outside() as outside:
        consume = service.start("consume")
        service.start("relay")
        early = outside.send(Allocate(orderid="early", sku="SKU", qty=1), correlation_id="a conversation")
        consume.wait_for("retry_scheduled", within=PATIENCE)
        outside.ask(CreateBatch(batchref="late", sku="SKU", qty=30, eta=date(2031, 2, 1)))
        outside.ask(CreateBatch(batchref="soon", sku="SKU", qty=30, eta=date(2031, 1, 1)))
        outside.ask(CreateBatch(batchref="shelf", sku="SKU", qty=10))
        _answered(outside, [early])
        for number in range(8):
            outside.ask(Allocate(orderid=f"o{number}", sku="SKU", qty=3))
        outside.ask(Allocate(orderid="o0", sku="SKU", qty=3))
        outside.ask(Allocate(orderid="big", sku="SKU", qty=100))
        outside.ask(ChangeBatchQuantity(batchref="shelf", qty=4))
        outside.ask(ChangeBatchQuantity(batchref="soon", qty=9))
        outside.ask(Deallocate(orderid="o1", sku="SKU"))
        outside.ask(Allocate(orderid="last", sku="SKU", qty=3))
        return _faults(service, outside)


SCENARIOS: Mapping[str, Callable[[RunningService], Sequence[str]]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (crashes, race, repeats, late_subscriber, full_queue, dead_letters_away, undecodable_headers, rules)
}


def _a_little_of_everything(outside: ExternalClient) -> None:
    _batches(outside)
    _orders(outside)


def _batches(outside: ExternalClient) -> None:
    for batch, qty in (("b1", 20), ("b2", 30)):
        outside.send(CreateBatch(batchref=batch, sku="SKU", qty=qty))
    outside.wait_confirmed()


def _orders(outside: ExternalClient) -> None:
    for number in range(20):
        outside.send(Allocate(orderid=f"o{number}", sku="SKU", qty=2))
    outside.wait_confirmed()


def _answered(outside: ExternalClient, message_ids: Sequence[str] | None = None) -> str | None:
    """What is missing, if anything is."""
    outside.wait_confirmed()
    try:
        outside.wait_answered(message_ids, within=PATIENCE)
    except TimeoutError as error:
        return str(error)
    return None


def _faults(service: RunningService, outside: ExternalClient) -> Sequence[str]:
    """The checker's verdict, also where the service does not come to rest."""
    if _answered(outside):
        return check(outside.sent, outside.received).faults
    try:
        return service.judge(outside).faults
    except TimeoutError as error:
        return [str(error)[:300], *check(outside.sent, outside.received).faults]


def _killed(process: WorkerProcess) -> None:
    wait_until(lambda: process.exit_code is not None, within=PATIENCE, otherwise=lambda: process.log)


@contextmanager
def _channel(service: RunningService) -> Iterator[Any]:
    with pika.BlockingConnection(pika.URLParameters(service.amqp_url)) as connection:
        yield connection.channel()


@contextmanager
def _database(service: RunningService) -> "Iterator[psycopg2.extensions.cursor]":
    dsn = make_url(service.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        yield cursor


@contextmanager
def _locked(service: RunningService, sku: str) -> Iterator[None]:
    with _database(service) as cursor:
        cursor.execute("SELECT 1 FROM products WHERE sku = %s FOR UPDATE", [sku])
        yield


def _flood(service: RunningService, queue: str, *, most: int, within: float) -> list[str]:
    """Look for so many seconds whether the queue gets more copies of the events than it should."""
    with _channel(service) as channel:

        def depth() -> int:
            count: int = channel.queue_declare(queue, passive=True).method.message_count
            return count

        flood = f"The queue {queue} got more than {most} copies of some 20 events while another queue was full."
        none_came = _missed(lambda: depth() > most, "", within=within)
        channel.queue_delete(queue)
        return [] if none_came else [flood]


def _one(service: RunningService, query: str) -> int:
    with _database(service) as cursor:
        cursor.execute(query)
        [(number,)] = cursor.fetchall()
        return int(number)


def _rows(service: RunningService, query: str, least: int) -> list[str]:
    return _missed(lambda: _one(service, query) >= least, f"Fewer than {least}: {query}.")


def _missed(condition: Callable[[], bool], sentence: str, *, within: float = PATIENCE) -> list[str]:
    """Wait for what the scenario builds on; where a bug prevents it, the scenario goes on with this sentence."""
    try:
        wait_until(condition, within=within, every=0.1, otherwise=lambda: sentence)
    except TimeoutError:
        return [sentence]
    return []
