"""`send --file`, also when it is killed."""

import csv
import signal
from functools import partial
from pathlib import Path

import pytest

from allocation_contracts import Allocate, CreateBatch
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.processes import WorkerProcess, run_verb
from harness.service import RunningService

ORDERS = Path(__file__).parents[3] / "shared" / "data" / "online-retail.csv"

REAL_COLUMNS = [
    *("--column", "orderid=InvoiceNo"),
    *("--column", "sku=StockCode"),
    *("--column", "qty=Quantity"),
    *("--column", "lineid=#row"),
]


def wait_for(client: ExternalClient, events: int) -> None:
    wait_until(lambda: len(client.received) >= events, within=60, otherwise=lambda: f"{len(client.received)} events")


@pytest.fixture
def nobody_listens(servers: Servers) -> str:
    """A virtual host where the queues stand, and what is sent stays; its address."""
    amqp_url = servers.broker.new_vhost()
    topology.declare([amqp_url], retry_delays=[1])
    return amqp_url


def queued(servers: Servers, amqp_url: str) -> int:
    return servers.broker.queue_depths(amqp_url)["allocation.orders"]


def test_a_bad_row_keeps_all_others_from_being_sent_unless_it_is_to_be_skipped(
    servers: Servers, nobody_listens: str, tmp_path: Path
) -> None:
    settings = {"ALLOCATION_AMQP_URL": nobody_listens}
    path = tmp_path / "orders.csv"
    path.write_text("orderid,sku,qty\no1,CHAIR,1\no2,CHAIR,none\no3,CHAIR,1\n")
    complaint = (
        f'{path}, row 3, column qty: "qty" in allocate.v1 must be an integer from 1 to 2147483647, got "none".\n'
    )

    refused = run_verb("send", "--file", str(path), "--type", "allocate", settings=settings)
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"{complaint}Nothing was sent.\n")
    assert queued(servers, nobody_listens) == 0

    sent = run_verb("send", "--file", str(path), "--type", "allocate", "--skip-bad", settings=settings)
    assert (sent.returncode, sent.stdout) == (0, f"Confirmed commands of {path}: 2.\n")
    assert f"{complaint}Rows skipped: 1.\n" in sent.stderr
    assert queued(servers, nobody_listens) == 2


def test_a_file_and_a_single_command_do_not_go_together() -> None:
    arguments = ("--file", "orders.csv", "allocate", "--orderid", "o", "--sku", "s", "--qty", "1")
    done = run_verb("send", *arguments, settings={})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "give either --file and its options, or allocate; see" in done.stderr


@pytest.mark.timeout(240)
def test_killed_half_way_and_run_again_comes_to_the_same(fresh_service: RunningService, tmp_path: Path) -> None:
    path, rows = tmp_path / "orders.csv", 10_000
    with path.open("w") as file:
        file.write("orderid,sku,qty,colour\n")
        file.writelines(f"o{number},SKU-{number % 50},1,blue\n" for number in range(rows))
    arguments = ("send", "--file", str(path), "--type", "allocate")
    with fresh_service.client() as client:
        for sku in range(50):
            client.send(CreateBatch(batchref=f"b{sku}", sku=f"SKU-{sku}", qty=rows))
        client.wait_confirmed()
        waiting = partial(queued, fresh_service.servers, fresh_service.amqp_url)
        sender = WorkerProcess(*arguments, settings=fresh_service.settings, log=tmp_path / "send.log")
        wait_until(lambda: waiting() > 0, within=60, otherwise=lambda: sender.log, every=0.005)
        sender.kill()
        assert sender.exit_code == -signal.SIGKILL
        assert 0 < waiting() < rows

        fresh_service.start("consume")
        fresh_service.start("relay")
        for _ in range(2):
            done = run_verb(*arguments, settings=fresh_service.settings)
            assert done.stdout == f"Confirmed commands of {path}: {rows}.\n", done.stderr
            assert done.stderr == "Columns not used: colour.\n"

        wait_for(client, 50 + rows)
        wait_until(lambda: waiting() == 0, within=60, otherwise=lambda: f"{waiting()} wait")
        # What a repeat has caused, if anything, comes before the answer to what is sent after it.
        client.ask(Allocate(orderid="last", sku="SKU-0", qty=1))
        answers = [event for event in client.received if event.type != "batch-created.v1"]
        assert len(answers) == len({event.causation_id for event in answers}) == rows + 1
        assert {event.type for event in answers} == {"allocated.v1"}


@pytest.mark.skipif(not ORDERS.exists(), reason="the order lines of the UCI Online Retail set are not here")
def test_a_real_shops_lines_are_sent_from_the_file_as_it_is(servers: Servers, nobody_listens: str) -> None:
    with ORDERS.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    good = sum(int(row["Quantity"]) > 0 and row["StockCode"] == row["StockCode"].strip() for row in rows)
    arguments = ("send", "--file", str(ORDERS), "--type", "allocate", *REAL_COLUMNS)
    settings = {"ALLOCATION_AMQP_URL": nobody_listens}

    refused = run_verb(*arguments, settings=settings)
    sent = run_verb(*arguments, "--skip-bad", settings=settings)

    assert refused.returncode == 1
    assert "column Quantity:" in refused.stderr
    assert refused.stderr.endswith("Nothing was sent.\n")
    assert sent.stdout == f"Confirmed commands of {ORDERS}: {good}.\n", sent.stderr
    assert f"Rows skipped: {len(rows) - good}." in sent.stderr
    assert queued(servers, nobody_listens) == good > 9000
