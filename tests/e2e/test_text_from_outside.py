"""Whatever others write into a message, a file or a table: no verb prints what a terminal would obey."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pika
import psycopg2
import pytest
import typer
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties
from sqlalchemy import make_url

from allocation_contracts import DEAD_LETTERS, EVENTS_EXCHANGE, ORDERS_QUEUE, Allocate, CreateBatch
from allocation_worker.cli import app
from allocation_worker.service_layer.dead_letters import By
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.redis_server import RedisServer
from allocation_worker.testing.waiting import wait_until
from harness.processes import run_verb
from harness.service import RunningService
from tests.e2e.test_tail import line_of, tail

CONTROLS = "\x07\x08\x1b[2J\x7f\x85\x9b1A\u2028\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""C0, DEL, C1, a line separator, and all that changes the direction of a line."""
TURNED = "\u202ea\u2066b"
"""The part of it that a name may hold by the contract."""
ORDER, SKU, BATCH, QUEUE = f"o{TURNED}", f"S{TURNED}", f"b{TURNED}", f"q{TURNED}"
NOTHING_FROM_OUTSIDE = {"migrate", "topology", "consume", "relay", "project", "settings", "health", "restored"}
HEADERS: dict[str, Any] = {
    "x-reason": f"handler{CONTROLS}",
    "x-detail": f"It failed{CONTROLS}.",
    "x-exception": f"Value{CONTROLS}: no{CONTROLS}",
    "x-original-queue": ORDERS_QUEUE,
    "x-failed-at": "2026-11-26T12:00:00+00:00",
    f"x-mine{CONTROLS}": [f"a{CONTROLS}"],
}
UNKNOWN = BasicProperties(
    type=f"shipped{CONTROLS}.v1",
    message_id=f"e{CONTROLS}",
    correlation_id=f"c{CONTROLS}",
    headers={"causation_id": f"a{CONTROLS}"},
)


@pytest.fixture(scope="module")
def outside(
    servers: Servers, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A service whose messages and tables hold all of that."""
    settings = {"ALLOCATION_REDIS_URL": redis_server.new_database()}
    with RunningService(servers, tmp_path_factory.mktemp("outside"), settings) as service:
        for verb in ("consume", "relay", "project"):
            service.start(verb)
        with service.client() as client:
            client.ask(CreateBatch(batchref=BATCH, sku=SKU, qty=5))
            client.ask(Allocate(orderid=ORDER, sku=SKU, qty=1, lineid=TURNED), message_id="m-1")
        wait_until(
            lambda: run_verb("show", "order", ORDER, settings=service.settings).returncode == 0,
            within=60,
            otherwise=service.logs,
        )
        with closing(pika.BlockingConnection(pika.URLParameters(service.amqp_url))) as connection:
            channel = connection.channel()
            channel.queue_declare(QUEUE, durable=True)
            bury(channel)
        break_a_row(service)
        yield service


def bury(channel: BlockingChannel) -> None:
    for body in (f'{{"orderid":"{CONTROLS}"'.encode(), json.dumps({"sku": CONTROLS}, ensure_ascii=False).encode()):
        properties = BasicProperties(message_id=f"m{CONTROLS}", type=f"t{CONTROLS}", headers=dict(HEADERS))
        channel.basic_publish(DEAD_LETTERS, f"key{CONTROLS}", body, properties)


def break_a_row(service: RunningService) -> None:
    """Give `verify` something to say about the batch."""
    dsn = make_url(service.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE batches SET allocated = 3")
        connection.commit()


def printed(service: RunningService, *arguments: str) -> str:
    done = run_verb(*arguments, settings=service.settings)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def harmful(text: str) -> set[str]:
    """The characters of an output that a terminal would obey."""
    return {each for each in text if not each.isprintable() and each != "\n"}


LINES = [
    ["show", "order", ORDER],
    ["show", "order", ORDER, "--json"],
    ["show", "order", f"none{CONTROLS}"],
    ["show", "sku", SKU],
    ["show", "sku", SKU, "--json"],
    ["show", "batch", BATCH],
    ["show", "batch", BATCH, "--json"],
    ["explain", "m-1"],
    ["explain", "m-1", "--json"],
    ["explain", f"none{CONTROLS}"],
    ["replay", "--sku", SKU, "--from", "1", "--queue", QUEUE],
    ["replay", "--sku", SKU, "--from", "1", "--queue", QUEUE, "--json"],
    ["verify"],
    ["verify", "--json"],
    ["status"],
    ["status", "--json"],
    *(["dead-letters", "list", "--by", by, *as_json] for by in By for as_json in ([], ["--json"])),
    ["dead-letters", "list", "--reason", HEADERS["x-reason"]],
    ["dead-letters", "list", "--exception", HEADERS["x-exception"], "--json"],
    ["dead-letters", "list", "--message-id", f"none{CONTROLS}"],
    ["dead-letters", "show", f"none{CONTROLS}"],
    ["dead-letters", "redrive", "--all"],
    ["dead-letters", "redrive", "--all", "--dry-run"],
    ["dead-letters", "redrive", "--all", "--dry-run", "--json"],
    ["send", "allocate", "--orderid", f"o{CONTROLS}", "--sku", "s", "--qty", "1"],
    ["tail", "--type", f"none{CONTROLS}"],
    [f"none{CONTROLS}"],
]


@pytest.mark.parametrize("arguments", LINES, ids=lambda words: ascii(" ".join(words))[:60])
def test_a_verb_prints_nothing_that_a_terminal_obeys(outside: RunningService, arguments: list[str]) -> None:
    text = printed(outside, *arguments)
    assert text
    assert harmful(text) == set()


def test_each_dead_letter_is_shown_without(outside: RunningService) -> None:
    listed = printed(outside, "dead-letters", "list", "--reason", HEADERS["x-reason"], "--json")
    ids = [json.loads(line)["id"] for line in listed.splitlines()]
    assert len(ids) == 2
    for id_ in ids:
        for as_json in ([], ["--json"]):
            text = printed(outside, "dead-letters", "show", id_, *as_json)
            assert r"\u009b1A" in text
            assert harmful(text) == set()


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_an_event_of_somebody_else_is_shown_without(outside: RunningService, as_json: list[str]) -> None:
    with (
        tail(outside, *as_json) as process,
        closing(pika.BlockingConnection(pika.URLParameters(outside.amqp_url))) as connection,
    ):
        body = json.dumps({"note": CONTROLS}, ensure_ascii=False).encode()
        connection.channel().basic_publish(EVENTS_EXCHANGE, "shipped", body, UNKNOWN)
        line = line_of(process.stdout)
        process.send_signal(signal.SIGINT)
    assert r"shipped\u0007\b\u001b[2J" in line.replace(r"\u0008", r"\b")
    assert harmful(line) == set()
    if as_json:
        assert json.loads(line)["body"] == {"note": CONTROLS}


@pytest.mark.parametrize(
    "table",
    [
        f"orderid,sku,qty,x{TURNED}\x1b[2J\no,s,1,2\n",
        f"order{TURNED}\x9b,sku,qty\no,s,1\n",
        f"orderid,sku,qty\n\x1b[2J{TURNED},s,x\n",
    ],
)
def test_a_file_is_complained_about_without(outside: RunningService, table: str, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(table, "utf-8")
    text = printed(outside, "send", "--file", str(file), "--type", "allocate")
    assert text
    assert harmful(text) == set()


def test_every_verb_is_looked_at() -> None:
    verbs: set[str] = set(getattr(typer.main.get_command(app), "commands"))  # noqa: B009 - typer's type lacks it
    assert verbs - {line[0] for line in LINES} == NOTHING_FROM_OUTSIDE
