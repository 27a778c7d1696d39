"""Somebody holds the row of one product: its orders wait, and all others are answered meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg2

from allocation_contracts import Allocate, ChangeBatchQuantity, CreateBatch, Deallocate
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.service import RunningService

OTHERS = 10.0
"""Seconds for the orders of the other products; somebody may hold one for an hour."""


@contextmanager
def held(service: RunningService, sku: str) -> Iterator[None]:
    """As by a person at a prompt, who forgets to commit."""
    dsn = service.database_url.replace("+psycopg2", "")
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE products SET sequence = sequence WHERE sku = %s", [sku])
        yield
        connection.rollback()


def order(client: ExternalClient, orderid: str, sku: str) -> str:
    return client.send(Allocate(orderid=orderid, sku=sku, qty=1))


def given_stock(client: ExternalClient) -> None:
    for sku in ("CHAIR", "TABLE", "LAMP"):
        client.ask(CreateBatch(batchref=f"batch-{sku}", sku=sku, qty=1000))


def orders_of_others(client: ExternalClient, name: str, count: int) -> list[str]:
    return [order(client, f"{name}-{number}", "TABLE" if number % 2 else "LAMP") for number in range(count)]


def answered_orders(client: ExternalClient, sku: str) -> list[str]:
    """The orders of a product in the order in which they were answered."""
    return [
        event.data["orderid"] for event in client.received if event.data.get("sku") == sku and "orderid" in event.data
    ]


def test_two_consumers_go_on_with_the_orders_of_other_products(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        fresh_service.start("relay")
        consumers = [fresh_service.start("consume"), fresh_service.start("consume")]
        for consumer in consumers:
            consumer.wait_for("ready")
        given_stock(client)
        with held(fresh_service, "CHAIR"):
            chairs = [order(client, f"chair-{number}", "CHAIR") for number in range(4)]
            client.wait_confirmed()
            for consumer in consumers:
                consumer.wait_for("product_set_aside", sku="CHAIR")
            for round_ in range(5):
                others = orders_of_others(client, f"round-{round_}", 20)
                client.wait_confirmed()
                client.wait_answered(others, OTHERS)
            change = client.send(ChangeBatchQuantity(batchref="batch-CHAIR", qty=500))
            client.ask(ChangeBatchQuantity(batchref="batch-TABLE", qty=500), within=OTHERS)
            assert answered_orders(client, "CHAIR") == []
            assert not client.answers(change)
        client.wait_answered([*chairs, change], OTHERS)
        for consumer in consumers:
            consumer.wait_for("product_free_again", sku="CHAIR")
        assert fresh_service.judge(client).faults == []


def test_one_consumer_answers_the_orders_of_the_product_in_their_order(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        fresh_service.start("relay")
        consumer = fresh_service.start("consume")
        given_stock(client)
        with held(fresh_service, "CHAIR"):
            for number in range(300):
                order(client, f"chair-{number}", "CHAIR")
                others = orders_of_others(client, f"with-{number}", 1)
            client.wait_confirmed()
            client.wait_answered(others, OTHERS)
            consumer.wait_for("product_set_aside", sku="CHAIR")
        client.wait_answered()
        assert answered_orders(client, "CHAIR") == [f"chair-{number}" for number in range(300)]
        assert fresh_service.judge(client).faults == []


def test_a_kill_meanwhile_loses_nothing(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        fresh_service.start("relay")
        consumer = fresh_service.start("consume")
        given_stock(client)
        with held(fresh_service, "CHAIR"):
            for number in range(50):
                order(client, f"chair-{number}", "CHAIR")
            first = orders_of_others(client, "first", 50)
            client.wait_confirmed()
            consumer.wait_for("product_set_aside", sku="CHAIR")
            client.wait_answered(first, OTHERS)
            consumer.kill()
            consumer = fresh_service.start("consume")
            consumer.wait_for("product_set_aside", sku="CHAIR")
            client.wait_answered(orders_of_others(client, "second", 50), OTHERS)
            assert answered_orders(client, "CHAIR") == []
        client.wait_answered()
        assert fresh_service.judge(client).faults == []
        assert fresh_service.count_dead_letters() == 0


LOCK_TIMEOUT = 1
SLEEPS_FOR_LONG = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep' AND now() - xact_start > interval '3 seconds')
"""


@contextmanager
def slow_updates_of_lines(service: RunningService) -> Iterator[Callable[[], bool]]:
    """Whoever updates lines waits until the end of the block. It is given what tells if somebody has for 3 seconds."""
    dsn = service.database_url.replace("+psycopg2", "")
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("""
            CREATE TABLE opened ();
            CREATE FUNCTION until_opened() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                WHILE NOT EXISTS (SELECT FROM opened) LOOP PERFORM pg_sleep(0.05); END LOOP;
                RETURN NULL;
            END $$;
            CREATE TRIGGER slow BEFORE UPDATE ON order_lines EXECUTE FUNCTION until_opened();
        """)

        def somebody_waits() -> bool:
            cursor.execute(SLEEPS_FOR_LONG)
            return cursor.fetchone() == (True,)

        yield somebody_waits
        cursor.execute("INSERT INTO opened DEFAULT VALUES")


def test_what_comes_while_those_that_wait_are_served_for_long_is_answered_once(fresh_service: RunningService) -> None:
    """Serving the queue holds the product for longer than the lock timeout."""
    limit = {"ALLOCATION_LOCK_TIMEOUT": str(LOCK_TIMEOUT)}
    with fresh_service.client() as client:
        fresh_service.start("relay", settings=limit)
        consumers = [fresh_service.start("consume", settings=limit) for _ in range(2)]
        given_stock(client)
        client.ask(Allocate(orderid="full", sku="CHAIR", qty=990))
        for number in range(3):
            client.ask(Allocate(orderid=f"waits-{number}", sku="CHAIR", qty=20, wait=True))
        with slow_updates_of_lines(fresh_service) as somebody_waits:
            batch = client.send(CreateBatch(batchref="large", sku="CHAIR", qty=100))
            wait_until(somebody_waits, within=30, otherwise=fresh_service.logs)
            chairs = [order(client, f"chair-{number}", "CHAIR") for number in range(4)]
            cancelled = client.send(Deallocate(orderid="waits-0", sku="CHAIR"))
            client.wait_confirmed()
            for consumer in consumers:
                consumer.wait_for("product_set_aside", sku="CHAIR")
            client.wait_answered(orders_of_others(client, "meanwhile", 20), OTHERS)
            assert not any(client.answers(each) for each in (batch, *chairs, cancelled))
        client.wait_answered([batch, *chairs, cancelled], OTHERS)
        assert fresh_service.judge(client).faults == []
        assert [len(client.answers(each)) for each in chairs] == [1, 1, 1, 1]
        assert fresh_service.count_dead_letters() == 0
