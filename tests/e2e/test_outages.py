"""The broker or the database is unreachable, slow, full or blocked, and no message is lost or dead-lettered."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from time import monotonic

import pika
import psycopg2
import pytest

from allocation_contracts import DEAD_LETTERS, ORDERS_QUEUE, Allocate, CreateBatch
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.proxy import ConnectionFault, Proxy
from harness.service import RunningService
from tests.e2e.mixed_commands import send_mixed_commands

COMMIT = b"COMMIT\0"
# It takes a back-off, of 2 s at most, and a connection; this is for machines that many share.
WITHIN_SECONDS = 60.0
DELIVERY_LIMIT = 20
ALL_CONNECTIONS_ARE_TAKEN = """
SELECT count(*) = current_setting('max_connections')::int
   AND NOT bool_or(application_name IN ('allocation-worker consume', 'allocation-worker relay'))
  FROM pg_stat_activity WHERE backend_type = 'client backend'
"""


@pytest.fixture
def database_network(fresh_service: RunningService) -> Iterator[Proxy]:
    """Between the processes and the database."""
    with Proxy(fresh_service.database_url) as network:
        fresh_service.settings["ALLOCATION_DATABASE_URL"] = network.url
        yield network


@pytest.fixture
def broker_network(fresh_service: RunningService) -> Iterator[Proxy]:
    """Between the processes and the broker."""
    with Proxy(fresh_service.amqp_url) as network:
        fresh_service.settings["ALLOCATION_AMQP_URL"] = network.url
        yield network


@pytest.fixture
def own_servers(servers: Servers) -> Servers:
    if servers.how != "programs":
        pytest.skip("only servers that are ours can be stopped, filled or blocked")
    return servers


def orders(client: ExternalClient, count: int) -> None:
    for number in range(count):
        client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1))
    client.wait_confirmed()


def take_every_connection(dsn: str, connections: ExitStack) -> None:
    """Connect until no connection is free. A backend whose client has gone keeps its own until it notices."""
    watcher = connections.enter_context(closing(psycopg2.connect(dsn)))
    watcher.autocommit = True

    def none_is_free() -> bool:
        take_free_connections(dsn, connections)
        with watcher.cursor() as cursor:
            cursor.execute(ALL_CONNECTIONS_ARE_TAKEN)
            return bool(cursor.fetchall()[0][0])

    wait_until(none_is_free, within=30, otherwise=lambda: "The processes keep connections, or others come and go.")


def take_free_connections(dsn: str, connections: ExitStack) -> None:
    while True:
        try:
            connections.enter_context(closing(psycopg2.connect(dsn)))
        except psycopg2.OperationalError as error:
            if "too many clients" not in str(error):
                raise
            return


def assert_answered_soon(client: ExternalClient, orderid: str) -> None:
    began = monotonic()
    message_id = client.send(Allocate(orderid=orderid, sku="SKU", qty=1))
    client.wait_confirmed(WITHIN_SECONDS)
    client.wait_answered([message_id], WITHIN_SECONDS)
    assert monotonic() - began < WITHIN_SECONDS


def assert_all_is_well(service: RunningService, client: ExternalClient) -> None:
    client.wait_confirmed()
    client.wait_answered()
    assert service.judge(client).faults == []
    assert service.servers.broker.queue_depths(service.amqp_url)[DEAD_LETTERS] == 0


def until_depth(service: RunningService, depth: int) -> None:
    """How many orders wait; those in hand do not count."""
    wait_until(
        lambda: service.servers.broker.queue_depths(service.amqp_url)[ORDERS_QUEUE] == depth,
        within=60,
        every=0.1,
        otherwise=lambda: f"{service.servers.broker.queue_depths(service.amqp_url)}\n{service.logs()}",
    )


def deliveries_spent(service: RunningService, count: int) -> set[object]:
    """Of the orders that wait, how often each has been given back, as the broker counts it against the limit."""
    until_depth(service, count)
    spent: set[object] = set()
    with closing(pika.BlockingConnection(pika.URLParameters(service.amqp_url))) as connection:
        channel = connection.channel()
        for _ in range(count):
            method, properties, _ = channel.basic_get(ORDERS_QUEUE)
            assert method is not None
            assert properties is not None
            spent.add((properties.headers or {}).get("x-delivery-count", 0))
    return spent


def resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def commits_that_fail(service: RunningService, network: Proxy, outages: int) -> None:
    with service.client() as client:
        service.start("relay")
        consumer = service.start("consume")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=100))
        trap = network.trap(COMMIT, ConnectionFault.CUT_BEFORE, times=outages)
        orders(client, 20)
        trap.wait(within=10 * outages)
        network.vanish()
        until_depth(service, 0)
        consumer.kill()
        assert deliveries_spent(service, 20) <= {0, 1}
        network.accept()
        service.start("consume")
        assert_answered_soon(client, "last")
        assert_all_is_well(service, client)


def connections_that_break(service: RunningService, database: Proxy, broker: Proxy, outages: int) -> None:
    with service.client() as client:
        service.start("relay")
        consumer = service.start("consume")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=100))
        database.vanish()
        orders(client, 20)
        until_depth(service, 0)
        consumer.wait_for("waiting", waiting_for="the database")
        for number in range(outages):
            broker.cut()
            wait_until(
                lambda least=number + 1: consumer.log.count("consuming_held") >= least,  # type: ignore[misc] # mypy does not infer lambdas with defaults
                within=60,
                otherwise=service.logs,
            )
        assert deliveries_spent(service, 20) <= {0, 1}
        database.accept()
        assert_answered_soon(client, "last")
        assert_all_is_well(service, client)


def test_commits_that_fail_spend_no_delivery(fresh_service: RunningService, database_network: Proxy) -> None:
    commits_that_fail(fresh_service, database_network, outages=4)


def test_while_the_database_is_away_a_broken_connection_to_the_broker_spends_one_delivery_at_most(
    fresh_service: RunningService, database_network: Proxy, broker_network: Proxy
) -> None:
    connections_that_break(fresh_service, database_network, broker_network, outages=3)


def test_processes_that_start_before_their_servers_say_so_and_wait_and_work_with_slow_ones(
    fresh_service: RunningService, database_network: Proxy, broker_network: Proxy
) -> None:
    database_network.refuse()
    broker_network.refuse()
    with fresh_service.client() as client:
        processes = [fresh_service.start("consume"), fresh_service.start("relay")]
        send_mixed_commands(client)
        for process in processes:
            process.wait_for("waiting", waiting_for="the database")
        database_network.accept()
        for process in processes:
            process.wait_for("amqp_connect_failed")
        database_network.slow_down(0.02)
        broker_network.accept()
        assert_all_is_well(fresh_service, client)


def test_a_database_without_a_free_connection_is_waited_for(
    fresh_service: RunningService, database_network: Proxy, own_servers: Servers
) -> None:
    dsn = own_servers.database.admin_url.replace("+psycopg2", "")
    with fresh_service.client() as client, ExitStack() as connections:
        consumer, relay = fresh_service.start("consume"), fresh_service.start("relay")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=100))
        database_network.vanish()
        take_every_connection(dsn, connections)
        database_network.accept()
        orders(client, 20)
        for process in (consumer, relay):
            process.wait_for_log("too many clients")
        connections.close()
        assert_answered_soon(client, "last")
        assert_all_is_well(fresh_service, client)


def test_an_alarm_of_the_broker_holds_events_up_and_nothing_else(
    fresh_service: RunningService, own_servers: Servers
) -> None:
    settings = {"ALLOCATION_BLOCKED_TIMEOUT": "1"}
    with fresh_service.client() as client:
        # Known before the orders come: one that waited for its SKU would have to be published, and be held up, too.
        before = [fresh_service.start("consume"), fresh_service.start("relay")]
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=1000))
        for process in before:
            process.terminate()
        orders(client, 500)
        own_servers.broker.ctl("set_vm_memory_high_watermark", "0")
        try:
            fresh_service.start("consume")
            relay = fresh_service.start("relay", settings=settings)
            until_depth(fresh_service, 0)
            wait_until(lambda: relay.log.count("amqp_blocked") > 1, within=30, otherwise=fresh_service.logs)
            assert "ConnectionBlockedTimeout" in relay.log
        finally:
            own_servers.broker.ctl("set_vm_memory_high_watermark", "0.6")
        assert_answered_soon(client, "last")
        assert_all_is_well(fresh_service, client)


def test_servers_that_are_restarted_under_load_lose_nothing(
    fresh_service: RunningService, own_servers: Servers
) -> None:
    broker, database = own_servers.broker, own_servers.database
    with fresh_service.client() as client:
        fresh_service.start("consume")
        fresh_service.start("relay")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=100_000))
        broker.save_queue_names()
        for number in range(1000):
            client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1))
        database.stop("immediate")
        database.start()
        assert_answered_soon(client, "after the database")
        broker.stop()
        broker.start()
        client.wait_confirmed()
        assert_answered_soon(client, "after the broker")
        assert_all_is_well(fresh_service, client)


@pytest.mark.long
def test_more_failing_commits_in_a_row_than_the_delivery_limit(
    fresh_service: RunningService, database_network: Proxy
) -> None:
    commits_that_fail(fresh_service, database_network, outages=DELIVERY_LIMIT + 5)


@pytest.mark.long
def test_more_broken_connections_in_a_row_than_the_delivery_limit(
    fresh_service: RunningService, database_network: Proxy, broker_network: Proxy
) -> None:
    connections_that_break(fresh_service, database_network, broker_network, outages=DELIVERY_LIMIT + 5)


@pytest.mark.long
@pytest.mark.timeout(900)  # up to 15 seconds each time until RabbitMQ has ended and started
@pytest.mark.parametrize("server", ["database", "broker"])
def test_more_restarts_in_a_row_than_the_delivery_limit(
    server: str, fresh_service: RunningService, own_servers: Servers
) -> None:
    with fresh_service.client() as client:
        fresh_service.start("consume")
        fresh_service.start("relay")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=100_000))
        own_servers.broker.save_queue_names()
        for outage in range(DELIVERY_LIMIT + 5):
            for number in range(1000):
                client.send(Allocate(orderid=f"o{outage}-{number}", sku="SKU", qty=1))
            if server == "database":
                own_servers.database.stop("fast" if outage % 2 else "immediate")
                own_servers.database.start()
            else:
                own_servers.broker.stop()
                own_servers.broker.start()
            client.wait_confirmed()
            assert_answered_soon(client, f"after outage {outage}")
        assert_all_is_well(fresh_service, client)


@pytest.mark.long
@pytest.mark.parametrize("server", ["database", "broker"])
def test_a_minute_away_costs_no_memory_and_no_message(
    server: str, fresh_service: RunningService, own_servers: Servers
) -> None:
    with fresh_service.client() as client:
        processes = [fresh_service.start("consume"), fresh_service.start("relay")]
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=100_000))
        own_servers.broker.save_queue_names()
        orders(client, 5000)
        client.wait_answered()
        before = [resident_megabytes(process.pid) for process in processes]
        away = own_servers.database if server == "database" else own_servers.broker
        for number in range(20_000):
            client.send(Allocate(orderid=f"more-{number}", sku="SKU", qty=1))
        wait_until(lambda: len(client.received) > 6000, within=60, otherwise=fresh_service.logs)
        away.stop()
        threading.Event().wait(60)
        grown = [resident_megabytes(process.pid) - was for process, was in zip(processes, before, strict=True)]
        assert max(grown) < 30
        away.start()
        client.wait_confirmed()
        assert_answered_soon(client, "last")
        assert_all_is_well(fresh_service, client)
