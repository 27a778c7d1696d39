"""`send --file`, also when it is killed."""

import csv
import json
import re
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
            assert done.stderr.startswith("Columns not used: colour.\nThe message_ids are file-")

        wait_for(client, 50 + rows)
        wait_until(lambda: waiting() == 0, within=60, otherwise=lambda: f"{waiting()} wait")
        # What a repeat has caused, if anything, comes before the answer to what is sent after it.
        client.ask(Allocate(orderid="last", sku="SKU-0", qty=1))
        answers = [event for event in client.received if event.type != "batch-created.v1"]
        assert len(answers) == len({event.causation_id for event in answers}) == rows + 1
        assert {event.type for event in answers} == {"allocated.v1"}


def orders(folder: Path, *rows: str) -> Path:
    path = folder / "orders.csv"
    path.write_text("\n".join(["orderid;sku;qty;", *rows, ";;;"]) + "\n")
    return path


def test_it_waits_for_the_outcomes_and_tells_by_exit_code(
    service: RunningService, client: ExternalClient, tmp_path: Path
) -> None:
    client.ask(CreateBatch(batchref="wait-1", sku="WAIT-ST\xdcHLE", qty=5))
    path = orders(tmp_path, "o1;WAIT-ST\xdcHLE;5;", "o2;WAIT-ST\xdcHLE;1;", "o3;WAIT-TABLE;1;")
    send = partial(run_verb, "send", "--file", str(path), "--type", "allocate", "--wait")
    ascii_only = {**service.settings, "PYTHONIOENCODING": "ascii"}

    first = send(settings=ascii_only)
    lines = first.stdout.splitlines()
    assert (first.returncode, lines[0]) == (4, f"Confirmed commands of {path}: 3."), first.stderr
    assert "Outcomes: 1 allocated, 1 out-of-stock, 1 command-rejected." in lines
    assert any(line.startswith("row 2: ") and "WAIT-ST\\u00dcHLE" in line for line in lines)
    assert any(line.startswith("row 4: ") and "unknown-sku" in line for line in lines)
    assert "--attempt 2 sends it under ids of its own" in first.stderr

    client.ask(CreateBatch(batchref="wait-2", sku="WAIT-ST\xdcHLE", qty=5))
    client.ask(CreateBatch(batchref="wait-3", sku="WAIT-TABLE", qty=5))
    repeat = send("--timeout", "1", "--json", settings=service.settings)
    totals = json.loads(repeat.stdout.splitlines()[-1])
    assert (repeat.returncode, totals["confirmed"], totals["without_outcome"]) == (3, 3, 3)
    assert "sent before under the same message_id" in repeat.stderr

    second = send("--attempt", "2", "--json", settings=ascii_only)
    *outcomes, totals = map(json.loads, second.stdout.splitlines())
    assert (second.returncode, totals["outcomes"]) == (0, {"allocated.v1": 3}), second.stderr
    assert {each["row"]: each["body"]["batchref"] for each in outcomes} == {2: "wait-1", 3: "wait-2", 4: "wait-3"}


def test_one_command_waits_for_its_outcome(service: RunningService, client: ExternalClient) -> None:
    client.ask(CreateBatch(batchref="one-1", sku="ONE", qty=5))
    send = partial(run_verb, "send", "allocate", "--sku", "ONE", "--wait", settings=service.settings)
    allocated = send("--orderid", "o1", "--qty", "5", "--message-id", "one/1")
    assert (allocated.returncode, allocated.stderr) == (0, "")
    message_id, outcome = allocated.stdout.splitlines()
    assert message_id == "one/1"
    assert outcome.endswith("5 from one-1, in the warehouse")
    refused = send("--orderid", "o2", "--qty", "5", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["outcome"]["type"]) == (4, "out-of-stock.v1")


def test_what_was_published_is_said_even_if_the_output_cannot_be_written(
    servers: Servers, nobody_listens: str, tmp_path: Path
) -> None:
    path = orders(tmp_path, "o1;CHAIR;1;", "o2;CHAIR;1;")
    settings = {"ALLOCATION_AMQP_URL": nobody_listens}
    one = ["send", "allocate", "--orderid", "o", "--sku", "CHAIR", "--qty", "1", "--message-id", "full/1"]
    for arguments, told in (
        (one, "The command is confirmed, and its message_id is full/1. "),
        (["send", "--file", str(path), "--type", "allocate"], f"All 2 commands of {path} are confirmed, under the "),
    ):
        done = run_verb(*arguments, settings=settings, stdout=Path("/dev/full"))
        assert done.returncode == 1
        assert done.stderr.startswith(told)
        assert done.stderr.endswith("Standard output cannot be written (No space left on device).\n")
        assert done.stderr.count("\n") == 1
    assert queued(servers, nobody_listens) == 3


@pytest.mark.parametrize("after", [1, 3_000, 12_000])
def test_ctrl_c_says_how_many_and_that_repeating_is_safe(
    servers: Servers, nobody_listens: str, tmp_path: Path, after: int
) -> None:
    path = orders(tmp_path, *(f"o{number};CHAIR;1;" for number in range(40_000)))
    arguments = ("send", "--file", str(path), "--type", "allocate")
    sender = WorkerProcess(*arguments, settings={"ALLOCATION_AMQP_URL": nobody_listens}, log=tmp_path / "send.log")
    wait_until(lambda: queued(servers, nobody_listens) >= after, within=60, otherwise=lambda: sender.log, every=0.005)
    sender.send(signal.SIGINT)
    assert sender.wait() == 130
    [told] = sender.log.splitlines()
    match = re.fullmatch(
        rf"Interrupted\. (\d+) of 40000 commands of {re.escape(str(path))} are confirmed, and some more may be\. "
        r"Send the file again for the others: what is sent twice has no second effect\.",
        told,
    )
    assert match, told
    assert int(match[1]) <= queued(servers, nobody_listens) < 40_000


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
