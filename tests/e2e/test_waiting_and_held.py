"""An operator looks at lines that wait, are held, and were moved or shipped, with every verb that shows them."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from allocation_contracts import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    CreateBatch,
    Hold,
    HoldLapsed,
    Ship,
)
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.redis_server import RedisServer
from allocation_worker.testing.waiting import wait_until
from harness.processes import run_verb
from harness.service import RunningService

ETA = date(2030, 1, 31)
LATER = date(2030, 2, 28)


@pytest.fixture(scope="module")
def service(
    servers: Servers, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A shop in which a line was moved, one was shipped, two wait, one is held, and a hold has lapsed."""
    settings = {"ALLOCATION_REDIS_URL": redis_server.new_database()}
    with RunningService(servers, tmp_path_factory.mktemp("service"), settings) as running:
        for verb in ("consume", "relay", "project"):
            running.start(verb)
        with running.client() as client:
            hour = datetime.now(UTC) + timedelta(hours=1)
            client.ask(CreateBatch(batchref="desks", sku="DESK", qty=1))
            client.ask(CreateBatch(batchref="shelf", sku="LAMP", qty=5), message_id="c1")
            client.ask(CreateBatch(batchref="ship", sku="LAMP", qty=10, eta=ETA), message_id="c2")
            client.ask(Allocate(orderid="o1", sku="LAMP", qty=4), message_id="m1")
            client.ask(Allocate(orderid="o2", sku="LAMP", qty=9), message_id="m2")
            client.ask(Allocate(orderid="w1", sku="LAMP", qty=6, wait=True, needed_by=ETA), message_id="w1")
            client.ask(Allocate(orderid="w2", sku="LAMP", qty=3, wait=True), message_id="w2")
            client.ask(Allocate(orderid="w3", sku="LAMP", qty=30, wait=True, priority=5), message_id="w3")
            client.ask(Hold(orderid="late", sku="LAMP", qty=1, until=hour), message_id="h2")
            client.ask(ChangeLineQuantity(orderid="o1", sku="LAMP", qty=1), message_id="q1")
            client.ask(ChangeBatchEta(batchref="ship", eta=LATER), message_id="e1")
            client.ask(Ship(orderid="o1", sku="LAMP"), message_id="s1")
            client.ask(ChangeBatchQuantity(batchref="ship", qty=8), message_id="x1")
            # Last, so that nothing else depends on when it lapses.
            soon = datetime.now(UTC) + timedelta(seconds=1)
            client.ask(Hold(orderid="basket", sku="LAMP", qty=1, until=soon), message_id="h1")
            wait_until(
                lambda: any(event.type == HoldLapsed.TYPE for event in client.received),
                within=30,
                otherwise=running.logs,
            )
            assert running.judge(client).faults == []
        wait_until(
            lambda: as_json(running, "show", "order", "basket")["lines"][0]["status"] == "lapsed",
            within=30,
            otherwise=running.logs,
            every=0.5,
        )
        yield running


def told(service: RunningService, *arguments: str) -> str:
    done = run_verb(*arguments, settings=service.settings)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def as_json(service: RunningService, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(service, *arguments, "--json"))
    return found


def test_the_queue_is_shown_in_the_order_in_which_it_is_served(service: RunningService) -> None:
    queue = as_json(service, "show", "waiting", "--sku", "LAMP")
    assert [(line["orderid"], line["qty"], line["priority"], line["needed_by"]) for line in queue["lines"]] == [
        ("w3", 30, 5, None),
        ("w1", 6, 0, "2030-01-31"),
    ]
    assert (queue["waiting_lines"], queue["waiting_qty"]) == (2, 36)
    text = told(service, "show", "waiting", "--sku", "LAMP", "--limit", "1")
    assert "1 more line waits after these; --limit shows more." in text
    assert "2 lines of SKU LAMP wait for stock, and want 36 in all, the first since 20" in text
    assert "│ LAMP │     2 │       36 │ 20" in told(service, "show", "waiting")
    assert told(service, "show", "waiting", "--sku", "DESK") == "No line of SKU DESK waits for stock.\n"


def test_the_queue_of_a_misspelt_sku_is_not_known(service: RunningService) -> None:
    done = run_verb("show", "waiting", "--sku", "LMAP", settings=service.settings)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "SKU 'LMAP' was never heard of; look at its spelling.\n"


def test_a_hold_can_be_sent_again_and_ended_by_hand(service: RunningService) -> None:
    words = ("send", "hold", "--orderid", "by-hand", "--sku", "DESK", "--qty", "1", "--wait")
    until = ("--until", f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}", "--message-id", "by-hand/1")
    assert "held.v1" in told(service, *words, *until)
    assert told(service, *words[:-1], *until) == "by-hand/1\n"
    assert "held.v1" in told(service, *words, "--minutes", "0")
    with service.client() as shop:
        shop.ask(Allocate(orderid="after-it", sku="DESK", qty=1, wait=True))
        wait_until(
            lambda: as_json(service, "show", "order", "after-it")["lines"][0]["status"] == "allocated",
            within=30,
            otherwise=service.logs,
            every=0.5,
        )
    assert told(service, "dead-letters", "list") == "There are no dead letters.\n"


def test_an_order_shows_the_turn_of_a_line_or_until_when_it_is_held(service: RunningService) -> None:
    [waiting] = as_json(service, "show", "order", "w1")["waiting"]
    assert (waiting["before"], waiting["needed_by"]) == (1, "2030-01-31")
    assert "Lines that wait for stock" in told(service, "show", "order", "w1")
    [held] = as_json(service, "show", "order", "late")["held"]
    assert (held["batchref"], 3000 < held["seconds_left"] < 3600) == ("shelf", True)
    assert " min " in told(service, "show", "order", "late")
    [shipped] = as_json(service, "show", "order", "o1")["lines"]
    assert shipped["status"] == "shipped"


def test_a_sku_and_a_batch_show_what_is_held_and_shipped_of_them(service: RunningService) -> None:
    shelf, ship = (as_json(service, "show", "batch", reference) for reference in ("shelf", "ship"))
    assert (shelf["allocated"], shelf["held"], shelf["shipped"], shelf["waiting_lines"]) == (5, 1, 1, 2)
    assert (ship["allocated"], ship["held"], ship["shipped"], ship["waiting_lines"]) == (0, 0, 0, 2)
    sku = told(service, "show", "sku", "LAMP")
    assert "2 lines of SKU LAMP wait for stock, and want 36 in all" in sku
    assert "1 line is held until 20" in sku


def test_without_the_database_the_rest_is_shown(service: RunningService) -> None:
    settings = {**service.settings, "ALLOCATION_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
    done = run_verb("show", "sku", "LAMP", settings=settings)
    assert done.returncode == 0
    assert "shelf" in done.stdout
    assert done.stderr.startswith("The database cannot be asked which lines wait, are held or were shipped: ")
    assert done.stderr.count("\n") == 1


def test_a_story_goes_on_to_what_has_happened_since(service: RunningService) -> None:
    def since(message_id: str) -> list[tuple[str, str | None, str]]:
        story = as_json(service, "explain", message_id)
        assert all(decision["agrees"] for decision in story["decisions"])
        assert story["batches_known"]
        return [(each["type"], each["because"], each["causation_id"]) for each in story["since"]]

    assert since("m1") == [("line-quantity-changed.v1", None, "q1"), ("shipped.v1", None, "s1")]
    assert since("w2") == [("allocated.v1", "order o1: from 4 to 1 of batch shelf, in the warehouse", "q1")]
    assert since("h1") == [("hold-lapsed.v1", "its time had passed", "h1")]
    assert since("m2")[0][:2] == (
        "promise-changed.v1",
        "batch ship: due on 2030-01-31, now due on 2030-02-28",
    )
    text = told(service, "explain", "w1")
    assert "it waits for stock, the most that one batch could give was 1" in text
    assert "It is needed by 2030-01-31; a batch that arrives later is not for it." in text
    assert "It still waits; `allocation-worker show waiting --sku LAMP` shows the queue." in text


def test_verify_and_status_find_nothing_wrong_with_lines_that_wait_or_are_held(service: RunningService) -> None:
    assert "No faults." in told(service, "verify")
    text = told(service, "status", "--check")
    assert "Lines that wait for stock: 2, the first for " in text
    assert "Lines that are held: 1\n" in text


def test_a_file_of_the_new_commands_is_sent(service: RunningService, tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    rows = [
        {"type": "create-batch", "batchref": "v", "sku": "VASE", "qty": 9, "eta": "2030-01-31"},
        {"type": "change-batch-eta", "batchref": "v", "eta": None},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert "Outcomes: 1 batch-created, 1 batch-eta-changed." in send(service, path)
    orders = tmp_path / "orders.csv"
    orders.write_text(
        "type,orderid,sku,qty,wait,priority,until,from_qty\n"
        "allocate,f1,VASE,20,true,3,,\n"
        "hold,f2,VASE,2,,,2030-01-01T00:00:00Z,\n"
        "allocate,f3,VASE,4,,,,\n"
    )
    assert "Outcomes: 1 backordered, 1 held, 1 allocated." in send(service, orders)
    changes = tmp_path / "changes.csv"
    changes.write_text("type,orderid,sku,qty,from_qty\nchange-line-quantity,f3,VASE,3,4\n")
    assert "Outcomes: 1 line-quantity-changed." in send(service, changes)
    stock = tmp_path / "stock.csv"
    stock.write_text("type,batchref,sku,qty,eta\ncreate-batch,v2,VASE,1,2030-01-31\nchange-batch-eta,v2,,,null\n")
    assert "Outcomes: 1 batch-created, 1 batch-eta-changed." in send(service, stock)


def send(service: RunningService, path: Path) -> str:
    done = run_verb("send", "--file", str(path), "--wait", settings=service.settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
