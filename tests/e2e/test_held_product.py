"""Somebody holds the row of one product: its orders wait, and all others are answered meanwhile."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2

from allocation_contracts import Allocate, ChangeBatchQuantity, CreateBatch
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
