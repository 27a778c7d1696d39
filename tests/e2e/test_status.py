"""`status` on a service that works, waits, or is not there."""

import json
import re
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

from pika.spec import BasicProperties

from allocation_contracts import Allocate, CreateBatch, Hold
from allocation_worker.testing.waiting import wait_until
from harness.processes import run_verb
from harness.service import RunningService


def look(service: RunningService) -> tuple[int, dict[str, Any]]:
    done = run_verb("status", "--json", "--check", settings=service.settings)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def kinds(service: RunningService) -> list[str]:
    return [each["kind"] for each in look(service)[1]["findings"]]


def test_an_order_that_waits_while_nothing_runs_is_told(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        client.send(Allocate(orderid="o", sku="LAMP", qty=1))
        client.wait_confirmed()
        code, seen = look(fresh_service)
    assert (code, kinds(fresh_service)) == (4, ["no-consumer", "no-consumer", "no-relay"])
    assert {each["name"]: each["messages"] for each in seen["queues"]}["allocation.orders"] == 1
    shown = run_verb("status", settings=fresh_service.settings)
    assert shown.returncode == 0
    assert "Nobody consumes allocation.orders, in which 1 message waits; start `consume`." in shown.stdout


def test_the_lines_that_wait_or_are_held_are_counted(fresh_service: RunningService) -> None:
    fresh_service.start("consume")
    fresh_service.start("relay")
    with fresh_service.client() as client:
        client.ask(CreateBatch(batchref="b", sku="LAMP", qty=1))
        for number in range(2):
            client.ask(Allocate(orderid=f"o{number}", sku="LAMP", qty=2, wait=True))
        soon = datetime.now(UTC) + timedelta(seconds=1)
        fresh_service.processes[1].terminate()  # the relay, which ends holds
        client.send(Hold(orderid="basket", sku="LAMP", qty=1, until=soon))
        wait_until(
            lambda: look(fresh_service)[1]["lines"]["overdue"] == 1, within=30, otherwise=fresh_service.logs, every=0.5
        )
    lines = look(fresh_service)[1]["lines"]
    assert (lines["waiting"], lines["held"]) == (2, 1)
    assert lines["longest_wait"] > lines["most_overdue"] > 0
    shown = run_verb("status", "--stuck-after", "0", settings=fresh_service.settings).stdout
    assert re.search(r"^Lines that wait for stock: 2, the first for \d+ s$", shown, re.MULTILINE)
    assert re.search(r"^Lines that are held: 1, 1 of them overdue, the first for \d+ s$", shown, re.MULTILINE)
    assert re.search(r"^  A hold should have lapsed \d+ s ago; look at the log of `relay`\.$", shown, re.MULTILINE)


def test_a_service_that_works_is_shown_on_a_screen(fresh_service: RunningService) -> None:
    consume, relay = fresh_service.start("consume"), fresh_service.start("relay")
    with fresh_service.client() as client:
        client.ask(CreateBatch(batchref="b", sku="LAMP", qty=1))
        assert look(fresh_service)[0] == 0
        shown = run_verb("status", settings=fresh_service.settings).stdout.splitlines()
        assert shown[0] == "Nothing is wrong."
        assert len(shown) < 24
        assert max(map(len, shown)) <= 80
        assert any(re.fullmatch(r"  allocation\.orders +0 messages +1 consumer", line) for line in shown)
        assert any(re.fullmatch(r"  consume +1 session, for \d+ s", line) for line in shown)
        properties = BasicProperties(message_id="broken", type="allocate.v1")
        client.publish_raw(b"{", routing_key="allocate", properties=properties)
        wait_until(lambda: kinds(fresh_service) == ["dead-letters"], within=30, otherwise=fresh_service.logs)
        assert look(fresh_service)[1]["dead_letters"] == {"invalid-json": 1}
        relay.terminate()
        client.send(CreateBatch(batchref="c", sku="LAMP", qty=1))
        wait_until(
            lambda: (look(fresh_service)[1]["backlog"]["oldest"] or 0) > 0, within=30, otherwise=fresh_service.logs
        )
    assert kinds(fresh_service) == ["dead-letters", "no-relay"]
    done = run_verb("status", "--check", "--stuck-after", "0", settings=fresh_service.settings)
    assert "The oldest event has waited to be published for" in done.stdout
    assert [each["verb"] for each in look(fresh_service)[1]["processes"]] == ["consume"]
    assert consume.terminate() == 0


def test_servers_that_are_away_are_told_and_the_other_one_is_shown(fresh_service: RunningService) -> None:
    fresh_service.settings["ALLOCATION_AMQP_URL"] = "amqp://x:x@127.0.0.1:1/"
    code, seen = look(fresh_service)
    assert (code, [each["kind"] for each in seen["findings"]]) == (69, ["broker", "no-relay"])
    assert seen["backlog"] == {"oldest": None, "unrouted": {}}


def test_it_looks_again_until_it_is_stopped(fresh_service: RunningService) -> None:
    process = fresh_service.start("status", "--watch", "--json")
    wait_until(lambda: process.log.count('"findings"') > 1, within=30, otherwise=lambda: process.log)
    process.send(signal.SIGINT)
    assert process.wait(within=10) == 0
