"""The order lines of a real shop, with two consumers, repeats, cancellations, shrinking batches and kills."""

import csv
import random
from collections import Counter
from pathlib import Path

import pytest

from allocation_contracts import Allocate, ChangeBatchQuantity, CreateBatch, Deallocate
from allocation_worker.testing.servers.redis_server import RedisServer
from allocation_worker.testing.waiting import wait_until
from harness.checker import read_model as comparing
from harness.service import RunningService

OrderLine = Allocate | Deallocate

ORDERS = Path(__file__).parents[3] / "shared" / "data" / "online-retail.csv"

pytestmark = pytest.mark.skipif(not ORDERS.exists(), reason="the order lines of the UCI Online Retail set are not here")


def order_lines() -> list[OrderLine]:
    """Each row as a command; a negative quantity cancels the customer's last line of that SKU, if there is one."""
    commands: list[OrderLine] = []
    last: dict[tuple[str, str], Allocate] = {}
    with ORDERS.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            sku, customer = row["StockCode"].strip(), row["CustomerID"]
            if int(row["Quantity"]) > 0:
                line = Allocate(orderid=row["InvoiceNo"], sku=sku, qty=int(row["Quantity"]), lineid=str(number))
                last[sku, customer] = line
                commands.append(line)
            else:
                earlier = last.pop((sku, customer), None)
                orderid, lineid = (earlier.orderid, earlier.lineid) if earlier else (row["InvoiceNo"], str(number))
                commands.append(Deallocate(orderid=orderid, sku=sku, lineid=lineid))
    return commands


def demanded(lines: list[OrderLine]) -> Counter[str]:
    """How much of each SKU is asked for; also the SKUs of which nothing is."""
    demand = Counter[str]()
    for line in lines:
        demand[line.sku] += line.qty if isinstance(line, Allocate) else 0
    return demand


@pytest.mark.timeout(240)
def test_every_line_of_a_real_shop_is_answered_once_and_no_batch_is_oversold(
    fresh_service: RunningService, redis_server: RedisServer
) -> None:
    redis_url = fresh_service.settings["ALLOCATION_REDIS_URL"] = redis_server.new_database()
    luck = random.Random(20101201)
    lines = order_lines()
    assert len(lines) == 9999
    demand = demanded(lines)
    with fresh_service.client() as client:
        consumers = [fresh_service.start("consume"), fresh_service.start("consume")]
        relay = fresh_service.start("relay")
        project = fresh_service.start("project")
        for sku, qty in demand.items():
            client.send(CreateBatch(batchref=f"{sku}/shelf", sku=sku, qty=max(1, qty // 2)))
            client.send(CreateBatch(batchref=f"{sku}/ship", sku=sku, qty=max(1, qty // 2), eta=None))
        client.wait_answered(within=120)
        for number, line in enumerate(lines):
            message_id = client.send(line, message_id=f"row-{number}")
            if luck.random() < 0.05:
                client.send(line, message_id=message_id)
            if luck.random() < 0.03:
                client.send(ChangeBatchQuantity(batchref=f"{luck.choice(lines).sku}/shelf", qty=luck.randrange(50)))
        for target in (6000, 9000):
            wait_until(lambda least=target: len(client.received) > least, within=120, otherwise=fresh_service.logs)  # type: ignore[misc] # mypy does not infer lambdas with defaults
            consumers.pop(0).kill()
            consumers.append(fresh_service.start("consume"))
            relay.kill()
            relay = fresh_service.start("relay")
            project.kill()
            project = fresh_service.start("project")
        client.wait_confirmed()
        client.wait_answered(within=120)
        report = fresh_service.judge(client)
        assert report.faults == []
        assert report.counts["allocated.v1"] > 5000
        assert report.counts["out-of-stock.v1"] > 100
        read, write = comparing.read_model(redis_url), comparing.write_model(fresh_service.database_url)
        assert comparing.compare(read, write) == []
        assert len(write.lines) > 9000
