"""`dead-letters`, as an operator runs it."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika
import psycopg2
import pytest
from pika.spec import BasicProperties
from sqlalchemy import make_url

from allocation_contracts import COMMANDS_EXCHANGE, DEAD_LETTERS, ORDERS_QUEUE, Allocate, CreateBatch, encode
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from harness.crash_points import DEAD_LETTER_POINTS
from harness.processes import run_verb
from harness.service import RunningService

QUICK = {"ALLOCATION_RETRY_DELAYS": "1"}


@pytest.fixture(scope="module")
def still(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A place where nothing runs, so that all that is redriven can be seen in its queue."""
    with RunningService(servers, tmp_path_factory.mktemp("still")) as running:
        yield running


def dead_letters(service: RunningService, *arguments: str, answer: str | None = None) -> tuple[int, str]:
    """Run the verb; its exit code and all that it printed."""
    if answer is None:
        done = run_verb("dead-letters", *arguments, settings=service.settings)
    else:
        done = subprocess.run(
            [sys.executable, "-m", "allocation_worker", "dead-letters", *arguments],
            env={**os.environ, **service.settings},
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    return done.returncode, done.stdout + done.stderr


def depths(service: RunningService) -> tuple[int, int]:
    """How many wait in the dead letters and in the order queue."""
    dead = service.count_dead_letters()
    return dead, service.servers.broker.queue_depths(service.amqp_url)[ORDERS_QUEUE]


def clean_up(
    service: RunningService,
    *ids: str,
    reason: str = "handler-failed",
    days_ago: float = 0.0,
    exception: str = "ValueError: no",
) -> None:
    """Have allocates with these ids in the dead letters, as `consume` would bring them there."""
    failed_at = datetime.now(UTC) - timedelta(days=days_ago)
    headers: dict[str, Any] = {
        "x-reason": reason,
        "x-detail": "It failed 4 times.",
        "x-exception": exception,
        "x-attempts": 4,
        "x-original-queue": ORDERS_QUEUE,
        "x-failed-at": failed_at.isoformat(),
    }
    with closing(pika.BlockingConnection(pika.URLParameters(service.amqp_url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for id_ in ids:
            properties = BasicProperties(message_id=id_, type="allocate.v1", headers=headers, delivery_mode=2)
            channel.basic_publish(DEAD_LETTERS, "allocate", encode(Allocate(orderid=id_, sku="SKU", qty=1)), properties)


def waiting_ids(service: RunningService, queue: str, *, take: bool = False) -> list[str]:
    """The message_ids in a queue; they stay there, or are taken."""
    found: list[str] = []
    service.count_dead_letters()  # whatever held some is gone
    with closing(pika.BlockingConnection(pika.URLParameters(service.amqp_url))) as connection:
        channel = connection.channel()
        while True:
            method, properties, _ = channel.basic_get(queue, auto_ack=take)
            if method is None or properties is None:
                return found
            found.append(properties.message_id or "")


def listed(service: RunningService, reason: str) -> list[dict[str, Any]]:
    code, out = dead_letters(service, "list", "--reason", reason, "--json")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def new_ids(count: int) -> list[str]:
    return [f"{number}-{uuid4().hex[:8]}" for number in range(count)]


def test_a_person_sees_what_is_there_and_throws_some_of_it_away(still: RunningService) -> None:
    reason = "handler-failed"
    old, new, other = new_ids(3)
    clean_up(still, old, reason=reason, days_ago=2)
    clean_up(still, new, reason=reason)
    clean_up(still, other, reason="invalid-json")

    code, out = dead_letters(still, "list")
    assert code == 0
    [_, first, second] = out.splitlines()
    assert first.split()[:2] == ["2", reason]
    assert second.split()[:2] == ["1", "invalid-json"]
    assert first.endswith("It failed 4 times.")

    letters = {letter["message_id"]: letter for letter in listed(still, reason)}
    assert letters.keys() == {old, new}
    assert letters[old]["failed_at"] < letters[new]["failed_at"]

    code, out = dead_letters(still, "show", letters[new]["id"])
    assert code == 0
    for part in (new, "ValueError: no", '"sku": "SKU"', "x-original-queue", "Fix the cause", "attempts: 4"):
        assert part in out, part

    assert dead_letters(still, "discard", letters[new]["id"], answer="n\n")[0] == 1
    code, out = dead_letters(still, "discard", letters[new]["id"], answer="y\n")
    assert (code, depths(still)[0]) == (0, 2)
    assert "Discard 1 dead letter (1 handler-failed)?" in out
    code, out = dead_letters(still, "discard", letters[new]["id"], "--yes")
    assert code == 3
    assert f"There is no dead letter {letters[new]['id']}" in out
    assert dead_letters(still, "discard", "--all", "--yes") == (0, "2 discarded.\n")
    assert dead_letters(still, "list") == (0, "There are no dead letters.\n")
    code, out = dead_letters(still, "list", "--reason", "handler-failed")
    assert (code, out.count("\n")) == (0, 1)
    assert out.startswith("There are no dead letters of the reason 'handler-failed'; ")


def test_one_whose_id_may_be_forgotten_is_redriven_only_if_told(still: RunningService) -> None:
    old, new = new_ids(2)
    clean_up(still, old, days_ago=7.1)
    clean_up(still, new, days_ago=6.9)
    code, out = dead_letters(still, "redrive", "--all")
    assert code == 4
    assert "may be forgotten" in out
    assert "1 redriven, 1 left." in out
    assert waiting_ids(still, ORDERS_QUEUE, take=True) == [new]
    assert dead_letters(still, "redrive", "--all", "--even-if-forgotten") == (0, "1 redriven, 0 left.\n")
    assert waiting_ids(still, ORDERS_QUEUE, take=True) == [old]
    assert depths(still) == (0, 0)


def test_what_would_come_straight_back_is_left_where_it_is(still: RunningService) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(still.amqp_url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for key, type_ in (("alocate", "allocate.v1"), ("alocate", "order.v9"), ("alocate", "")):
            properties = BasicProperties(message_id=f"lost-{type_}", type=type_, timestamp=int(time.time()))
            body = encode(Allocate(orderid="o", sku="SKU", qty=1))
            channel.basic_publish(COMMANDS_EXCHANGE, key, body, properties)
        properties = BasicProperties(message_id="broken", type="allocate.v1", timestamp=int(time.time()))
        channel.basic_publish(COMMANDS_EXCHANGE, "alocate", b"{", properties)
        properties = BasicProperties(message_id="ageless", type="allocate.v1", timestamp=int(time.time()) * 1_000)
        channel.basic_publish(COMMANDS_EXCHANGE, "alocate", body, properties)
    clean_up(still, "used", reason="message-id-conflict")
    code, out = dead_letters(still, "redrive", "--all")
    assert code == 4
    assert "1 redriven, 5 left." in out
    assert out.count("it would be dead-lettered again: another message has used its message_id") == 1
    assert out.count("nothing tells how old it is") == 1
    assert out.count("neither its routing key nor its type says which queue it is for") == 2
    assert out.count("it would be dead-lettered again: The body is not valid JSON") == 1
    assert waiting_ids(still, ORDERS_QUEUE, take=True) == ["lost-allocate.v1"]
    assert dead_letters(still, "discard", "--all", "--yes")[1] == "5 discarded.\n"


def test_they_are_counted_and_selected_by_what_failed_and_saved_before_they_are_discarded(
    still: RunningService, tmp_path: Path
) -> None:
    [lost, other] = ids = new_ids(2)
    clean_up(still, *ids)
    clean_up(still, lost, exception="OSError: No route to host")
    code, out = dead_letters(still, "list", "--by", "exception", "--json")
    counted = [json.loads(line) for line in out.splitlines()]
    assert [(each["exception"], each["count"]) for each in counted] == [("ValueError", 2), ("OSError", 1)]
    code, out = dead_letters(still, "list", "--message-id", lost)
    assert (code, out.count(lost)) == (0, 2)
    assert "OSError: No route to host" in out
    code, out = dead_letters(still, "redrive", "--exception", "OSError")
    assert (code, out) == (0, "1 redriven, 0 left.\n")
    assert waiting_ids(still, ORDERS_QUEUE, take=True) == [lost]

    file = tmp_path / "discarded.jsonl"
    code, out = dead_letters(still, "discard", "--message-id", lost, "--yes", "--save", str(file))
    assert (code, out) == (0, f"1 written to {file}, then discarded.\n")
    [saved] = map(json.loads, file.read_text("utf-8").splitlines())
    assert (saved["message_id"], saved["exception"]) == (lost, "ValueError: no")
    assert json.loads(b64decode(saved["body_base64"]))["orderid"] == lost
    assert waiting_ids(still, DEAD_LETTERS) == [other]
    code, out = dead_letters(still, "discard", "--all", "--yes", "--save", str(file))
    assert (code, "exists already; name a new file" in out) == (2, True)
    code, out = dead_letters(still, "discard", "--message-id", lost, "--yes")
    assert (code, f"no dead letter with the message_id {lost}" in out) == (3, True)
    assert dead_letters(still, "discard", "--all", "--yes") == (0, "1 discarded.\n")


@pytest.mark.parametrize("arguments", [["list"], ["list", "--reason", "handler-failed", "--json"]], ids=" ".join)
def test_no_progress_is_left_on_a_terminal_and_the_output_goes_where_it_is_sent(
    still: RunningService, arguments: list[str]
) -> None:
    clean_up(still, *new_ids(300))
    terminal, theirs = pty.openpty()
    with closing(open(terminal, "rb", buffering=0)) as screen:  # noqa: PTH123 - a descriptor, and no path
        done = subprocess.run(
            [sys.executable, "-m", "allocation_worker", "dead-letters", *arguments],
            env={**os.environ, **still.settings, "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            timeout=60,
            check=True,
        )
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how the end of a terminal is told
            while more := screen.read(10_000):
                shown += more
    assert len(done.stdout.splitlines()) == (2 if arguments == ["list"] else 300)
    assert shown.rpartition(b"\x1b[K")[2] == b""
    assert dead_letters(still, "discard", "--all", "--yes") == (0, "300 discarded.\n")


def test_a_redrive_killed_between_any_two_of_its_steps_loses_nothing(still: RunningService) -> None:
    ids = new_ids(6)
    clean_up(still, *ids)
    for point in DEAD_LETTER_POINTS:
        nth = 1 if point in {"dead-letter-copied", "dead-letter-confirmed"} else 3  # all may be one batch
        victim = still.start("dead-letters", "redrive", "--all", crash=(point, nth))
        wait_until(lambda: victim.exit_code is not None, within=30, otherwise=lambda: victim.log)  # noqa: B023 - asked at once
        assert victim.exit_code == -signal.SIGKILL, point
        left, redriven = waiting_ids(still, DEAD_LETTERS), waiting_ids(still, ORDERS_QUEUE)
        assert {*left, *redriven} == set(ids), point
    assert dead_letters(still, "redrive", "--all")[0] == 0
    taken = waiting_ids(still, ORDERS_QUEUE, take=True)
    assert set(taken) == set(ids)
    assert len(taken) > len(ids)  # some twice: both were there after a kill, and the inbox makes it harmless
    assert depths(still) == (0, 0)


def test_a_discard_killed_half_way_can_be_run_again(still: RunningService) -> None:
    clean_up(still, *new_ids(6), reason="invalid-json")
    clean_up(still, *(kept := new_ids(2)))
    victim = still.start(
        "dead-letters", "discard", "--reason", "invalid-json", "--yes", crash=("dead-letter-removed", 3)
    )
    wait_until(lambda: victim.exit_code is not None, within=30, otherwise=lambda: victim.log)
    assert victim.exit_code == -signal.SIGKILL
    assert dead_letters(still, "discard", "--reason", "invalid-json", "--yes")[0] == 0
    assert waiting_ids(still, DEAD_LETTERS, take=True) == kept


def test_a_failure_is_fixed_predicted_and_redriven(fresh_service: RunningService) -> None:
    fresh_service.settings.update(QUICK)
    fresh_service.start("relay")
    fresh_service.start("consume")
    with fresh_service.client() as client:
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=3))
        execute(fresh_service, "ALTER TABLE batches ADD CONSTRAINT mistaken CHECK (allocated = 0)")
        ids = new_ids(4)
        for id_ in ids:
            client.send(Allocate(orderid=id_, sku="SKU", qty=1), message_id=id_)
        wait_until(lambda: depths(fresh_service)[0] == 4, within=30, otherwise=fresh_service.logs)
        code, out = dead_letters(fresh_service, "redrive", "--all", "--dry-run")
        assert code == 0
        assert out.count("would fail again: StoreError") == 4

        execute(fresh_service, "ALTER TABLE batches DROP CONSTRAINT mistaken")
        code, out = dead_letters(fresh_service, "redrive", "--all", "--dry-run")
        assert code == 0
        assert out.count("would be answered by allocated.v1") == 4
        assert depths(fresh_service) == (4, 0)
        assert not client.answers(ids[0])

        assert dead_letters(fresh_service, "redrive", "--all") == (0, "4 redriven, 0 left.\n")
        client.wait_answered()
        predict_what_is_done(fresh_service, ids)
        client.wait_confirmed()
        report = fresh_service.judge(client)
        assert report.faults == []
        assert report.batches["b"].allocated == 3
        assert report.counts["out-of-stock.v1"] == 1


def predict_what_is_done(service: RunningService, ids: Sequence[str]) -> None:
    """What a killed redrive leaves: dead letters whose copies have been answered."""
    clean_up(service, *ids)
    code, out = dead_letters(service, "redrive", "--all", "--dry-run")
    assert code == 0
    assert out.count("is done already") == len(ids)
    assert dead_letters(service, "redrive", "--all") == (0, f"{len(ids)} redriven, 0 left.\n")


def execute(service: RunningService, statement: str) -> None:
    dsn = make_url(service.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        connection.commit()
