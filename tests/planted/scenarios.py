"""Short runs of the real processes that reveal planted bugs, and return the faults as text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.spec import BasicProperties

from allocation_contracts import (
    COMMANDS_EXCHANGE,
    DEAD_LETTERS,
    EVENTS_EXCHANGE,
    Allocate,
    ChangeBatchQuantity,
    CommandRejected,
    CreateBatch,
    Deallocate,
    encode,
)
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient, read_dead_letters
from harness.pgbouncer import one_noticed_sharing, pgbouncer
from harness.processes import WorkerProcess, run_verb
from harness.service import RunningService
from tests.planted.domain import DOMAIN
from tests.planted.failovers import FAILOVERS
from tests.planted.operating import OPERATING
from tests.planted.pruning import PRUNING
from tests.planted.steps import (
    PATIENCE,
    WAITING_FOR_LOCKS,
    answered,
    database,
    faults_of,
    limit_queue,
    locked,
    not_seen,
    one,
    open_channel,
    rows,
    send_batches,
    send_batches_and_orders,
    send_orders,
    set_for_sessions,
)
from tests.planted.telling import TELLING
from tests.raw_headers import MILLISECONDS, allow

OFFERED = "SELECT count(*) FROM events WHERE published_at IS NOT NULL OR unrouted"


def crashes(service: RunningService) -> Sequence[str]:
    """Both processes killed between two steps, one step after the other."""
    with service.client() as client:
        first = service.start("consume")
        send_batches(client)
        missed = rows(service, "SELECT count(*) FROM batches", 2)
        first.terminate()
        send_orders(client)
        # More pages than relays are killed.
        groups_of_5 = {"ALLOCATION_GROUP_LIMIT": "5"}
        for point in ("handled", "flushed", "committed"):
            _killed(service.start("consume", crash=(point, 1), settings=groups_of_5))
        service.start("consume", settings=groups_of_5)
        missed += rows(service, "SELECT count(*) FROM events", 20)
        for point in ("published", "confirmed", "marked"):
            _killed(service.start("relay", crash=(point, 1), settings={"ALLOCATION_RELAY_WINDOW": "4"}))
        service.start("relay")
        return [*missed, *faults_of(service, client)]


def half_a_page(service: RunningService) -> Sequence[str]:
    """One relay after the other is killed when it has marked a page. It publishes one event at a time."""
    with service.client() as client:
        first = service.start("consume")
        send_batches(client)
        missed = rows(service, "SELECT count(*) FROM batches", 2)
        first.terminate()
        send_orders(client)  # they wait together, so a page has several events
        service.start("consume", settings={"ALLOCATION_GROUP_LIMIT": "5"})
        missed += rows(service, "SELECT count(*) FROM events", 22)
        for _ in range(4):
            _killed(service.start("relay", crash=("marked", 1), settings={"ALLOCATION_RELAY_WINDOW": "1"}))
        service.start("relay")
        return [*missed, *faults_of(service, client)]


def race(service: RunningService) -> Sequence[str]:
    """Two consumers at the same products; and a cancellation that both have in hand at the same time."""
    limits = {"ALLOCATION_GROUP_LIMIT": "60", "ALLOCATION_PREFETCH": "60"}
    # Shorter than a group waits for its products, or two groups that wait for each other would give up unnoticed.
    set_for_sessions(service, "deadlock_timeout = '50ms'")
    with service.client() as client:
        consumers = [service.start("consume", settings=limits) for _ in range(2)]
        service.start("relay")
        skus = [f"SKU-{number}" for number in range(60)]
        for sku in skus:
            client.send(CreateBatch(batchref=f"{sku}/b", sku=sku, qty=60))
        client.wait_answered(within=PATIENCE)
        missed: list[str] = []
        for part in range(6):
            with locked(service, skus[30]):  # so that both get stuck with some products in hand
                for number in range(600 * part, 600 * part + 600):
                    client.send(Allocate(orderid=f"o{number}", sku=skus[number % 60], qty=1))
                missed += rows(service, WAITING_FOR_LOCKS, 2)
            answered(client)
        with locked(service, skus[0]):
            cancelled = client.send(Deallocate(orderid="o0", sku=skus[0]))
            client.send(Deallocate(orderid="o0", sku=skus[0]), message_id=cancelled)
            missed += rows(service, WAITING_FOR_LOCKS, 2)
        faults = [*missed, *faults_of(service, client)]
        for consumer in consumers:
            consumer.terminate()  # a backend reports what it has counted when it ends
        deadlocks = one(service, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return [*faults, f"There were {deadlocks} deadlocks."] if deadlocks else faults


def repeats(service: RunningService) -> Sequence[str]:
    """Messages that come again, after the effect of the first has been undone."""
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=10))
        line, cancellation = Allocate(orderid="o", sku="SKU", qty=1), Deallocate(orderid="o", sku="SKU")
        first = client.ask(line).causation_id
        second = client.ask(cancellation).causation_id
        client.send(cancellation, message_id=second)
        client.send(line, message_id=first)
        client.ask(Allocate(orderid="last", sku="SKU", qty=1))
        return faults_of(service, client)


def shrink(service: RunningService) -> Sequence[str]:
    """A batch shrinks below 1,200 lines; an order of its product comes next. All their events wait for the relay."""
    with service.client() as client:
        service.start("consume")
        client.send(CreateBatch(batchref="b", sku="SKU", qty=1200))
        for number in range(1200):
            client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1))
        missed = rows(service, "SELECT count(*) FROM events", 1201)
        client.send(ChangeBatchQuantity(batchref="b", qty=0))
        missed += rows(service, "SELECT count(*) FROM events", 3602)
        client.send(Allocate(orderid="last", sku="SKU", qty=1))
        missed += rows(service, "SELECT count(*) FROM events", 3603)
        service.start("relay")
        return [*missed, *faults_of(service, client)]


def held_product(service: RunningService) -> Sequence[str]:
    """Somebody holds a product. A batch of it comes, then a change of that batch, then one of another product's."""
    with service.client() as client:
        service.start("relay")
        consumer = service.start("consume")
        for batch, sku in (("b1", "HELD"), ("b2", "FREE")):
            client.send(CreateBatch(batchref=batch, sku=sku, qty=1))
        missed = rows(service, "SELECT count(*) FROM batches", 2)
        with locked(service, "HELD"):
            client.send(CreateBatch(batchref="b3", sku="HELD", qty=5))
            client.wait_confirmed()
            missed += not_seen(lambda: "product_set_aside" in consumer.log, "The held product was not set aside.")
            change = client.send(ChangeBatchQuantity(batchref="b3", qty=4))
            other = client.send(ChangeBatchQuantity(batchref="b2", qty=2))
            if answered(client, [other]):
                missed.append("The stock of another product had to wait.")
        faults = [*missed, *faults_of(service, client)]
        refused = [each for each in client.answers(change) if each.type == CommandRejected.TYPE]
        return [*faults, *(f"A change passed its batch, and was refused: {each.data}" for each in refused)]


def table_away(service: RunningService) -> Sequence[str]:
    """A table has another name for a while, as while a backup is restored, and orders come meanwhile."""
    with service.client() as client:
        service.start("relay")
        consumer = service.start("consume")
        send_batches(client)
        missed = rows(service, "SELECT count(*) FROM batches", 2)
        with _renamed(service, "batches"):
            send_orders(client)
            seen = ('"waiting"', '"retry_scheduled"')
            missed += not_seen(lambda: any(each in consumer.log for each in seen), "Nobody missed the table.")
        blamed = ["A message paid for a table that was away."] if "retry_scheduled" in consumer.log else []
        return [*missed, *blamed, *faults_of(service, client)]


def log_full(service: RunningService) -> Sequence[str]:
    """The logs of both processes are on a full disk."""
    with service.client() as client:
        for verb in ("consume", "relay"):
            service.start(verb, log=Path("/dev/full"))
        send_batches_and_orders(client)
        return faults_of(service, client)


def restored(service: RunningService) -> Sequence[str]:
    """A backup from before the first order is restored, while a subscriber has seen the events of the orders."""
    with service.client() as client:
        processes = [service.start("consume"), service.start("relay")]
        send_batches_and_orders(client)
        client.wait_answered(within=PATIENCE)
        for process in processes:
            process.terminate()
        seen = list(client.received)
        with database(service) as cursor:
            cursor.execute("TRUNCATE products, batches, order_lines, inbox_entries, outbox_pages")
            cursor.connection.commit()
        run_verb("restored", settings=service.settings)
        service.start("consume")
        service.start("relay")
        again = client.send(CreateBatch(batchref="again", sku="SKU", qty=1))
        missed = answered(client, [again])
        highest = max(event.data["sequence"] for event in seen)
        numbers = [event.data["sequence"] for event in client.answers(again)]
        repeats = [f"A new event has the number {number}, given out before." for number in numbers if number <= highest]
        return [*filter(None, [missed]), *repeats]


def late_subscriber(service: RunningService) -> Sequence[str]:
    """At first no queue is bound for any event. It is bound in the middle of an offer, so order is not promised."""
    client = service.client()
    service.start("consume")
    service.start("relay")
    send_batches_and_orders(client)
    missed = rows(service, OFFERED, 20)
    with client:
        return [*missed, *(fault for fault in faults_of(service, client) if "was due" not in fault)]


def full_queue(service: RunningService) -> Sequence[str]:
    """The subscriber's queue takes five events, and refuses more until somebody reads them; another takes all."""
    client = service.client()
    limit_queue(service, client.queue, 5)
    with pika.BlockingConnection(pika.URLParameters(service.amqp_url)) as connection:
        channel = connection.channel()
        channel.queue_declare("healthy", durable=True)
        channel.queue_bind("healthy", EVENTS_EXCHANGE, "#")
    service.start("consume")
    relay = service.start("relay")
    send_batches_and_orders(client)
    missed = rows(service, "SELECT count(*) FROM events", 20)
    missed += not_seen(lambda: "events_refused" in relay.log, "No event was refused.")
    flood = _flood(service, "healthy", most=200, within=4.0)
    with client:
        return [*missed, *flood, *faults_of(service, client)]


def dead_letters_away(service: RunningService) -> Sequence[str]:
    """The queue of dead letters is not bound when a message breaks the contract."""
    body = b"  {never closed  "
    with service.client() as client, open_channel(service) as channel:
        consume = service.start("consume")
        service.start("relay")
        channel.queue_unbind(DEAD_LETTERS, DEAD_LETTERS, "")
        properties = BasicProperties(message_id="broken", type=Allocate.TYPE, delivery_mode=2)
        channel.basic_publish(COMMANDS_EXCHANGE, Allocate.ROUTING_KEY, body, properties)
        missed = not_seen(lambda: "copy_not_taken" in consume.log, "The copy found a queue.")
        channel.queue_bind(DEAD_LETTERS, DEAD_LETTERS, "")
        found = read_dead_letters(service.amqp_url, expected=1, within=10)
        faults = [] if found else ["The broken message is not in the dead letters."]
        faults += [f"Its bytes have become {taken!r}." for _, taken in found if taken != body]
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=10))
        return [*missed, *faults, *faults_of(service, client)]


def undecodable_headers(service: RunningService) -> Sequence[str]:
    """Among the orders are some with a timestamp in milliseconds in their headers."""
    with service.client() as client, open_channel(service) as channel, pytest.MonkeyPatch.context() as patch:
        allow(patch)
        consume = service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=10))
        for number in range(3):
            client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1))
            client.wait_confirmed()
            headers: dict[str, Any] = {"at": MILLISECONDS}
            properties = BasicProperties(message_id=f"m{number}", headers=headers, delivery_mode=2)
            channel.basic_publish(COMMANDS_EXCHANGE, Allocate.ROUTING_KEY, b"{}", properties)
        missed = [missing] if (missing := answered(client)) else []
        faults = not_seen(
            lambda: channel.queue_declare(DEAD_LETTERS, passive=True).method.message_count == 3,
            "There are not 3 dead letters.",
        )
        faults += ["The connection was lost."] if "amqp_lost" in consume.log else []
        return [*missed, *faults, *faults_of(service, client)]


def rules(service: RunningService) -> Sequence[str]:
    """One thing after the other, through every rule."""
    with service.client() as client:
        consume = service.start("consume")
        service.start("relay")
        early = client.send(Allocate(orderid="early", sku="SKU", qty=1), correlation_id="a conversation")
        consume.wait_for("retry_scheduled", within=PATIENCE)
        _smuggle_a_batch(client)
        client.ask(CreateBatch(batchref="late", sku="SKU", qty=30, eta=date(2031, 2, 1)))
        client.ask(CreateBatch(batchref="soon", sku="SKU", qty=60, eta=date(2031, 1, 1)))
        client.ask(CreateBatch(batchref="shelf", sku="SKU", qty=10))
        answered(client, [early])
        for number in range(8):
            client.ask(Allocate(orderid=f"o{number}", sku="SKU", qty=3))
        client.ask(Allocate(orderid="o0", sku="SKU", qty=3))
        client.ask(Allocate(orderid="big", sku="SKU", qty=100))
        client.ask(ChangeBatchQuantity(batchref="shelf", qty=4))
        client.ask(ChangeBatchQuantity(batchref="soon", qty=9))
        client.ask(Deallocate(orderid="o1", sku="SKU"))
        client.ask(Allocate(orderid="last", sku="SKU", qty=3))
        return faults_of(service, client)


def database_crash(service: RunningService) -> Sequence[str]:
    """The database crashes after commands were acked, and its settings say that a commit need not be on disk."""
    with service.client() as client, _rare_flushes(service):
        set_for_sessions(service, "synchronous_commit = off")
        first = service.start("consume")
        send_batches_and_orders(client)
        missed = rows(service, "SELECT count(*) FROM events", 22)
        first.terminate()  # it acks what it has decided
        service.servers.database.stop("immediate")
        service.servers.database.start()
        service.start("consume")
        service.start("relay")
        return [*missed, *faults_of(service, client)]


def shared_sessions(service: RunningService) -> Sequence[str]:
    """A pooler begins to share sessions between clients, and stops. No two relays may be active."""
    with service.client() as client, pgbouncer(service.database_url, pool_mode="session") as pooler:
        service.settings["ALLOCATION_DATABASE_URL"] = pooler.through(service.database_url)
        service.start("consume")
        # The lease is longer than the wait below. When it ends, a relay begins a new session, and is told in any case.
        relays = [service.start("relay", settings={"ALLOCATION_RELAY_LEASE": "30"}) for _ in range(2)]
        send_batches(client)
        client.wait_answered(within=PATIENCE)
        for relay in relays:
            relay.wait_for("ready")
        pooler.change({"pool_mode": "transaction"})
        send_orders(client)
        more = count()

        def told() -> bool:
            # Sessions change hands only while several programs use them.
            client.send(Allocate(orderid=f"more-{next(more)}", sku="SKU", qty=1))
            return one_noticed_sharing(relays)

        missed = not_seen(told, "A relay went on in a session that others use.")
        pooler.change({"pool_mode": "session"})
        # The pooler may keep a session that holds the relay's lock, until the lease ends it.
        answered(client, within=60)
        return [*missed, *faults_of(service, client)]


Scenario = Callable[[RunningService], Sequence[str]]


def _name(scenario: Scenario) -> str:
    return scenario.__name__.replace("_", "-")


SCENARIOS: Mapping[str, Scenario] = {
    _name(scenario): scenario
    for scenario in (
        crashes,
        half_a_page,
        race,
        repeats,
        shrink,
        table_away,
        log_full,
        restored,
        held_product,
        late_subscriber,
        full_queue,
        dead_letters_away,
        undecodable_headers,
        rules,
        database_crash,
        shared_sessions,
        *DOMAIN,
        *OPERATING,
        *TELLING,
        *PRUNING,
        *FAILOVERS,
    )
}

ON_A_PAIR = frozenset(map(_name, FAILOVERS))
"""The scenarios whose database is a pair."""


def _smuggle_a_batch(client: ExternalClient) -> None:
    """Publish a batch under the routing key of orders. It must come to nothing."""
    properties = BasicProperties(message_id="smuggled", type=CreateBatch.TYPE, delivery_mode=2)
    batch = CreateBatch(batchref="smuggled", sku="ANOTHER", qty=1_000_000)
    client.publish_raw(encode(batch), routing_key=Allocate.ROUTING_KEY, properties=properties)


def _killed(process: WorkerProcess) -> None:
    wait_until(lambda: process.exit_code is not None, within=PATIENCE, otherwise=lambda: process.log)


@contextmanager
def _renamed(service: RunningService, table: str) -> Iterator[None]:
    with database(service) as cursor:
        cursor.connection.autocommit = True
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
        yield
        cursor.execute(f"ALTER TABLE away RENAME TO {table}")


@contextmanager
def _rare_flushes(service: RunningService) -> Iterator[None]:
    """Have the server keep in memory for long what no commit has flushed."""
    try:
        with database(service) as cursor:
            cursor.connection.autocommit = True
            cursor.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
            cursor.execute("SELECT pg_reload_conf()")
        yield
    finally:
        with database(service) as cursor:
            cursor.connection.autocommit = True
            cursor.execute("ALTER SYSTEM RESET wal_writer_delay")
            cursor.execute("SELECT pg_reload_conf()")


def _flood(service: RunningService, queue: str, *, most: int, within: float) -> list[str]:
    """Look for so many seconds whether the queue gets more copies of the events than it should."""
    with open_channel(service) as channel:

        def depth() -> int:
            count: int = channel.queue_declare(queue, passive=True).method.message_count
            return count

        flood = f"The queue {queue} got more than {most} copies of some 20 events while another queue was full."
        none_came = not_seen(lambda: depth() > most, "", within=within)
        channel.queue_delete(queue)
        return [] if none_came else [flood]
