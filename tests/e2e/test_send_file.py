"""`allocation-worker send --file`, as an operator runs it, and as one kills it."""

import csv
import signal
from collections import Counter
from pathlib import Path

import pytest

from allocation_contracts import CreateBatch
from allocation_worker.testing.checker import ReceivedEvent
from allocation_worker.testing.outside import Outside
from allocation_worker.testing.processes import WorkerProcess, run_verb
from allocation_worker.testing.running import RunningService
from allocation_worker.testing.waiting import wait_until

ORDERS = Path(__file__).parents[3] / "shared" / "data" / "online-retail.csv"

REAL_COLUMNS = [
    *("--column", "orderid=InvoiceNo"),
    *("--column", "sku=StockCode"),
    *("--column", "qty=Quantity"),
    *("--column", "lineid=#row"),
]


def wait_for(outside: Outside, events: int) -> None:
    wait_until(lambda: len(outside.received) >= events, within=60, otherwise=lambda: f"{len(outside.received)} events")


def stories(events: list[ReceivedEvent]) -> Counter[tuple[str, str, str]]:
    """How often each command was answered, and how, whatever its message_id."""
    return Counter((event.causation_id, event.type, event.body.decode()) for event in events)


def queued(service: RunningService) -> int:
    return service.servers.broker.queue_depths(service.amqp_url)["allocation.orders"]


def test_a_file_is_sent_once_however_often_it_is_sent(fresh_service: RunningService, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    rows = "".join(f"o{number},CHAIR,1,blue\n" for number in range(50))
    path.write_text(f"orderid,sku,qty,colour\n{rows}")
    with fresh_service.outside() as outside:
        fresh_service.start("consume")
        fresh_service.start("relay")
        outside.ask(CreateBatch(batchref="b", sku="CHAIR", qty=40))
        for _ in range(2):
            done = run_verb("send", "--file", str(path), "--type", "allocate", settings=fresh_service.settings)
            assert (done.returncode, done.stdout) == (0, f"50 commands of {path} are confirmed.\n"), done.stderr
            assert done.stderr.startswith("Columns not used: colour.\n")
        wait_for(outside, 51)
        # Whatever a repeat brings would come before the answer to what is sent after it.
        path.write_text("orderid,sku,qty\nlast,CHAIR,1\n")
        run_verb("send", "--file", str(path), "--type", "allocate", settings=fresh_service.settings)
        wait_for(outside, 52)
        assert [event.type for event in outside.received].count("allocated.v1") == 40
        assert len({event.causation_id for event in outside.received}) == len(outside.received) == 52


def test_a_bad_row_keeps_all_others_from_being_sent_unless_it_is_to_be_skipped(
    fresh_service: RunningService, tmp_path: Path
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("orderid,sku,qty\no1,CHAIR,1\no2,CHAIR,none\no3,CHAIR,1\n")
    complaint = (
        f'{path}, row 3, column qty: "qty" in allocate.v1 must be an integer from 1 to 2147483647, got "none".\n'
    )

    refused = run_verb("send", "--file", str(path), "--type", "allocate", settings=fresh_service.settings)
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"{complaint}Nothing was sent.\n")
    assert queued(fresh_service) == 0

    arguments = ("--file", str(path), "--type", "allocate", "--skip-bad")
    sent = run_verb("send", *arguments, settings=fresh_service.settings)
    assert (sent.returncode, sent.stdout) == (0, f"2 commands of {path} are confirmed.\n")
    assert f"{complaint}1 rows were skipped.\n" in sent.stderr
    assert queued(fresh_service) == 2


def test_a_file_and_a_single_command_do_not_go_together() -> None:
    arguments = ("--file", "orders.csv", "allocate", "--orderid", "o", "--sku", "s", "--qty", "1")
    done = run_verb("send", *arguments, settings={})
    assert done.returncode == 2
    assert "give either --file and its options, or allocate." in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.timeout(240)
def test_killed_half_way_and_run_again_comes_to_the_same(fresh_service: RunningService, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    rows = 10_000
    with path.open("w") as file:
        file.write("orderid,sku,qty\n")
        file.writelines(f"o{number},SKU-{number % 50},1\n" for number in range(rows))
    arguments = ("send", "--file", str(path), "--type", "allocate")
    with fresh_service.outside() as outside:
        for sku in range(50):
            outside.send(CreateBatch(batchref=f"b{sku}", sku=f"SKU-{sku}", qty=rows))
        outside.wait_confirmed()
        sender = WorkerProcess(*arguments, settings=fresh_service.settings, log=tmp_path / "send.log")
        wait_until(lambda: queued(fresh_service) > 0, within=60, otherwise=lambda: sender.log, every=0.005)
        sender.kill()
        assert sender.exit_code == -signal.SIGKILL
        before = queued(fresh_service)
        assert 0 < before < rows

        fresh_service.start("consume")
        fresh_service.start("relay")
        done = run_verb(*arguments, settings=fresh_service.settings)

        assert done.stdout == f"{rows} commands of {path} are confirmed.\n", done.stderr
        wait_for(outside, 50 + rows)
        wait_until(lambda: queued(fresh_service) == 0, within=60, otherwise=lambda: f"{queued(fresh_service)} wait")
        answers = stories([event for event in outside.received if event.type != "batch-created.v1"])
        assert len(answers) == rows
        assert len({causation_id for causation_id, _, _ in answers}) == rows
        assert {type_ for _, type_, _ in answers} == {"allocated.v1"}


@pytest.mark.skipif(not ORDERS.exists(), reason="the order lines of the UCI Online Retail set are not here")
def test_a_real_shops_lines_are_sent_from_the_file_as_it_is(fresh_service: RunningService) -> None:
    with ORDERS.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    good = sum(int(row["Quantity"]) > 0 and row["StockCode"] == row["StockCode"].strip() for row in rows)
    arguments = ("send", "--file", str(ORDERS), "--type", "allocate", *REAL_COLUMNS)

    refused = run_verb(*arguments, settings=fresh_service.settings)
    sent = run_verb(*arguments, "--skip-bad", settings=fresh_service.settings)

    assert refused.returncode == 1
    assert "column Quantity:" in refused.stderr
    assert refused.stderr.endswith("Nothing was sent.\n")
    assert sent.stdout == f"{good} commands of {ORDERS} are confirmed.\n", sent.stderr
    assert f"{len(rows) - good} rows were skipped." in sent.stderr
    assert queued(fresh_service) == good > 9000
