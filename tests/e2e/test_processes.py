"""The processes, as an operator runs them: signals, kills, unreachable servers, verbs."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pika
import psycopg2
import pytest
import sqlalchemy as sa
from pika.spec import BasicProperties
from sqlalchemy import make_url

from allocation_contracts import ORDERS_QUEUE, STOCK_QUEUE, Allocate, ChangeBatchQuantity, CreateBatch
from allocation_worker.adapters.rabbitmq.prefetch_policy import ORDERED_PREFETCH
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.redis_server import RedisServer
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient, read_dead_letters
from harness.processes import run_verb
from harness.proxy import ConnectionFault, Proxy
from harness.service import RunningService

IN_HAND = 2_000


def stock(client: ExternalClient, skus: int, qty: int) -> None:
    for number in range(skus):
        for batch in range(2):
            client.send(CreateBatch(batchref=f"b{number}-{batch}", sku=f"SKU-{number}", qty=qty))
    client.wait_answered()


def wait_for_progress(client: ExternalClient, events: int) -> None:
    wait_until(lambda: len(client.received) >= events, within=60, otherwise=lambda: f"{len(client.received)} events")


def assert_all_is_well(service: RunningService, client: ExternalClient) -> None:
    client.wait_confirmed()
    client.wait_answered()
    assert service.judge(client).faults == []
    assert service.servers.broker.queue_depths(service.amqp_url)["allocation.dead-letters"] == 0


def test_sigterm_finishes_and_exits_zero(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        processes = [fresh_service.start("consume"), fresh_service.start("relay")]
        stock(client, 1, 10)
        for process in processes:
            assert process.terminate() == 0
            assert "stopped" in process.log


def test_sigterm_while_busy_loses_nothing_and_a_successor_goes_on(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        fresh_service.start("relay")
        consumer = fresh_service.start("consume")
        stock(client, 10, 10_000)
        for number in range(3000):
            client.send(Allocate(orderid=f"o{number}", sku=f"SKU-{number % 10}", qty=1))
        wait_for_progress(client, 200)
        assert consumer.terminate() == 0
        fresh_service.start("consume")
        assert_all_is_well(fresh_service, client)


def test_a_second_signal_ends_the_process_at_once(fresh_service: RunningService) -> None:
    """The first waits for the group in hand, whose answer from the database does not come."""
    with Proxy(fresh_service.database_url) as network, fresh_service.client() as client:
        process = fresh_service.start("consume", settings={"ALLOCATION_DATABASE_URL": network.url})
        process.wait_for("ready")  # what is asked at the start names the inbox, too
        group = network.trap(b"inbox", ConnectionFault.SILENCE)
        client.send(CreateBatch(batchref="b", sku="SKU", qty=1))
        group.wait()
        process.send(signal.SIGTERM)
        process.wait_for("stopping")

        def ended() -> bool:
            process.send(signal.SIGTERM)
            return process.exit_code is not None

        # Within the first second they count as one.
        wait_until(ended, within=10, every=0.3, otherwise=lambda: process.log)
        assert process.wait() == 128 + signal.SIGTERM


def test_two_signals_within_a_second_are_one_wish_to_stop(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        process = fresh_service.start("consume")
        stock_taken = client.send(CreateBatch(batchref="b", sku="SKU", qty=1))
        fresh_service.start("relay")
        client.wait_answered([stock_taken])
        with closing(psycopg2.connect(dsn_of(fresh_service))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM batches FOR UPDATE")
            order = client.send(Allocate(orderid="o", sku="SKU", qty=1))
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            with closing(psycopg2.connect(dsn_of(fresh_service))) as other, other.cursor() as look:
                wait_until(lambda: _any(look, waits), within=30, otherwise=lambda: process.log)
            process.send(signal.SIGTERM)
            process.send(signal.SIGINT)
            process.wait_for("stopping")
            process.send(signal.SIGTERM)
            connection.rollback()
        assert process.wait() == 0
        client.wait_answered([order])


def _any(cursor: "psycopg2.extensions.cursor", statement: str) -> bool:
    cursor.execute(statement)
    found = cursor.fetchone() is not None
    cursor.connection.rollback()
    return found


def dsn_of(service: RunningService) -> str:
    return sa.make_url(service.database_url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.mark.parametrize("verb", ["consume", "relay", "project", "tail"])
def test_a_signal_right_after_the_start_is_heeded(fresh_service: RunningService, verb: str) -> None:
    process = fresh_service.start(verb)
    wait_until(lambda: handles_sigterm(process.pid), within=30, every=0.001, otherwise=lambda: process.log)
    process.send(signal.SIGTERM)
    assert process.wait(within=10) == 0
    assert "starting" not in process.log


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_that_waits_for_the_interpreter_is_heeded(number: signal.Signals, code: int) -> None:
    """The image starts it so, since the kernel withholds signals from a first process that has no handler yet."""
    blocked = ["env", "--block-signal=TERM,INT", "sh", "-c", f'kill -{number:d} $$; exec "$@"', "sh"]
    command = [*blocked, sys.executable, "-m", "allocation_worker", "consume"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_tail_ends_on_sigterm(fresh_service: RunningService) -> None:
    process = fresh_service.start("tail")
    process.wait_for_log("Listening")
    assert process.terminate(within=10) == 0


def handles_sigterm(pid: int) -> bool:
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), flags=re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_a_stop_ends_in_time_though_the_database_does_not_answer(fresh_service: RunningService) -> None:
    """The relay's main thread waits in a call of the database; its limit is longer than the stop may take."""
    with Proxy(fresh_service.database_url) as network:
        process = fresh_service.start(
            "relay", settings={"ALLOCATION_DATABASE_URL": network.url, "ALLOCATION_SHUTDOWN_TIMEOUT": "1"}
        )
        process.wait_for("ready")
        # Pruning, in a thread of its own, does not look whether the session is its own.
        network.trap(b"allocation.relay", ConnectionFault.SILENCE).wait()
        process.send(signal.SIGTERM)
        process.wait_for("stopping", within=2)
        assert process.wait(within=20) == 128 + signal.SIGTERM
        assert "stop_timed_out" in process.log


def test_kill_9_of_either_process_again_and_again_loses_nothing(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        consumer, relay = fresh_service.start("consume"), fresh_service.start("relay")
        stock(client, 20, 400)
        for number in range(6000):
            line = Allocate(orderid=f"o{number}", sku=f"SKU-{number % 20}", qty=1 + number % 3)
            message_id = client.send(line)
            if number % 10 == 0:
                client.send(line, message_id=message_id)
            if number % 500 == 0:
                client.send(ChangeBatchQuantity(batchref=f"b{number // 500}-0", qty=50))
        for target in (500, 1500, 2500, 3500):
            wait_for_progress(client, target)
            consumer.kill()
            consumer = fresh_service.start("consume")
            relay.kill()
            relay = fresh_service.start("relay")
        assert_all_is_well(fresh_service, client)


def test_after_a_kill_9_what_was_in_hand_is_answered_in_few_transactions(fresh_service: RunningService) -> None:
    def waiting() -> int:
        return fresh_service.servers.broker.queue_depths(fresh_service.amqp_url)[ORDERS_QUEUE]

    dsn = make_url(fresh_service.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with fresh_service.client() as client, closing(psycopg2.connect(dsn)) as database, database.cursor() as cursor:
        fresh_service.start("relay")
        consumer = fresh_service.start("consume")
        stock(client, 10, 10_000)
        client.wait_answered()
        cursor.execute(
            "LOCK TABLE inbox_entries IN ACCESS EXCLUSIVE MODE"
        )  # holds the first group until all are in hand
        for number in range(IN_HAND):
            client.send(Allocate(orderid=f"o{number}", sku=f"SKU-{number % 10}", qty=1))
        client.wait_confirmed()
        wait_until(lambda: waiting() == 0, within=60, otherwise=lambda: f"{waiting()} are not in hand.")
        consumer.kill()
        database.rollback()
        wait_until(lambda: waiting() == IN_HAND, within=60, otherwise=lambda: f"{waiting()} are back.")
        fresh_service.start("consume")
        assert_all_is_well(fresh_service, client)
        cursor.execute("SELECT xmin::text, count(*) FROM inbox_entries GROUP BY 1 HAVING count(*) > 1")
        groups = [count for _, count in cursor.fetchall()]
    assert sum(groups) > 0.9 * IN_HAND
    assert len(groups) < 20


def test_two_consumers_fighting_over_one_sku_never_oversell(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        fresh_service.start("relay")
        fresh_service.start("consume")
        fresh_service.start("consume")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=1500))
        for number in range(2000):
            client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1))
        assert_all_is_well(fresh_service, client)
        report = fresh_service.judge(client)
        assert (report.counts["allocated.v1"], report.counts["out-of-stock.v1"]) == (1500, 500)


def test_a_second_relay_stands_by_and_takes_over(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        fresh_service.start("consume")
        first, second = fresh_service.start_relays()
        stock(client, 1, 10)
        first.kill()
        assert client.ask(Allocate(orderid="o", sku="SKU-0", qty=1)).type == "allocated.v1"
        second.wait_for("ready", role="active")


def test_events_that_no_queue_wants_are_kept_until_one_does(fresh_service: RunningService) -> None:
    fresh_service.start("consume")
    relay = fresh_service.start("relay")
    sent = run_verb(
        "send", "create-batch", "--batchref", "b", "--sku", "SKU", "--qty", "5", settings=fresh_service.settings
    )
    assert sent.returncode == 0, sent.stderr
    relay.wait_for("events_unrouted")
    with fresh_service.client() as client:
        wait_until(
            lambda: [event.type for event in client.received] == ["batch-created.v1"],
            within=30,
            otherwise=lambda: str(client.received),
        )
        assert client.received[0].causation_id == sent.stdout.strip()


def test_a_command_that_keeps_failing_is_a_dead_letter_with_its_exception(fresh_service: RunningService) -> None:
    engine = sa.create_engine(fresh_service.database_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'the floor gave way'; END $$"
            )
        )
        connection.execute(
            sa.text(
                "CREATE TRIGGER refuse BEFORE INSERT ON order_lines FOR EACH ROW WHEN (new.orderid = 'cursed') "
                "EXECUTE FUNCTION refuse()"
            )
        )
    engine.dispose()
    settings = {"ALLOCATION_RETRY_DELAYS": "1,1"}
    with fresh_service.client() as client:
        fresh_service.start("consume", settings=settings)
        fresh_service.start("relay")
        stock(client, 1, 100)
        cursed = client.send(Allocate(orderid="cursed", sku="SKU-0", qty=1))
        others = [client.send(Allocate(orderid=f"o{number}", sku="SKU-0", qty=1)) for number in range(20)]
        client.wait_answered(others)
        [(properties, _)] = read_dead_letters(fresh_service.amqp_url, expected=1)
        headers = properties.headers or {}
        assert (properties.message_id, headers["x-reason"], headers["x-attempts"]) == (cursed, "handler-failed", 3)
        assert "the floor gave way" in str(headers["x-exception"])
        client.wait_confirmed()
        assert fresh_service.judge(client, dead={cursed}).faults == []


def test_consume_and_relay_wait_for_servers_that_are_away(fresh_service: RunningService) -> None:
    nowhere = {"ALLOCATION_DATABASE_URL": "postgresql://me:hush@127.0.0.1:1/shop"}
    for verb in ("consume", "relay"):
        process = fresh_service.start(verb, settings=nowhere)
        process.wait_for("waiting", waiting_for="the database")
        assert process.terminate() == 0
        assert "hush" not in process.log
    process = fresh_service.start("consume", settings={"ALLOCATION_AMQP_URL": "amqp://me:hush@127.0.0.1:1/"})
    process.wait_for("amqp_connect_failed")
    assert process.terminate() == 0
    assert "hush" not in process.log


def test_the_start_up_line_tells_what_it_is_connected_to(fresh_service: RunningService) -> None:
    process = fresh_service.start("consume", "--queue", "allocation.stock")
    process.wait_for("starting")
    line = next(line for line in process.events if line["event"] == "starting")
    assert line["queues"] == ["allocation.stock"]
    assert line["verb"] == "consume"
    assert "***" in line["broker"][0]


@pytest.mark.parametrize(("setting", "few"), [("2000", ORDERED_PREFETCH), ("5", 5)])
def test_orders_begin_with_one_and_stock_with_few(fresh_service: RunningService, setting: str, few: int) -> None:
    """An order may have killed the last process; stock must not be delivered alone, or it would lose its order."""
    process = fresh_service.start("consume", settings={"ALLOCATION_PREFETCH": setting})
    process.wait_for("consuming", queue=ORDERS_QUEUE, prefetch=1)
    process.wait_for("consuming", queue=STOCK_QUEUE, prefetch=few)


def test_a_bad_setting_is_one_sentence_and_exit_78(tmp_path: Path) -> None:
    for name, value in {
        "ALLOCATION_GROUP_LIMIT": "many",
        "ALLOCATION_AMQP_URL": "amqp://broker:port/",
        "ALLOCATION_DATABASE_URL": "postgresql://db:port/shop",
        "ALLOCATION_RETRY_DELAYS": "soon",
    }.items():
        done = run_verb("consume", settings={name: value, "HOME": str(tmp_path)})
        assert done.returncode == 78
        assert done.stderr.startswith(f"{name} is wrong: ")
        assert done.stderr.count("\n") == 1


def test_verbs_say_in_one_sentence_that_a_server_is_away() -> None:
    settings = {
        "ALLOCATION_DATABASE_URL": "postgresql://me:hush@127.0.0.1:1/shop",
        "ALLOCATION_AMQP_URL": "amqp://me:hush@127.0.0.1:1/",
    }
    for arguments in (["migrate"], ["topology"]):
        done = run_verb(*arguments, settings=settings)
        assert done.returncode == 69
        assert done.stderr.strip().count("\n") == 0, done.stderr
        assert "hush" not in done.stderr
        assert "Connection refused" in done.stderr
        assert "look whether it runs there, and at ALLOCATION_" in done.stderr


def test_verbs_say_in_one_sentence_what_was_not_set_up(servers: Servers) -> None:
    settings = {
        "ALLOCATION_DATABASE_URL": servers.database.new_database(),
        "ALLOCATION_AMQP_URL": servers.broker.new_vhost(),
    }
    for arguments, remedy in (
        (["verify"], "run `allocation-worker migrate`."),
        (["explain", "order-17/1"], "run `allocation-worker migrate`."),
        (["dead-letters", "list"], "run `allocation-worker topology`."),
    ):
        done = run_verb(*arguments, settings=settings)
        assert (done.returncode, done.stderr.count("\n")) == (69, 1), done.stderr
        assert done.stderr.endswith(f"{remedy}\n")


def test_help_and_version_work_without_any_server() -> None:
    assert run_verb("--version", settings={}).stdout.startswith("allocation-worker 0")
    for verb in ("migrate", "topology", "consume", "relay", "show", "dead-letters"):
        done = run_verb(verb, "--help", settings={})
        assert done.returncode == 0
        assert "Example: " in done.stdout
    done = run_verb("send", "allocate", "--help", settings={})
    assert "--orderid" in done.stdout


def test_send_refuses_what_the_worker_would_refuse(fresh_service: RunningService) -> None:
    done = run_verb("send", "allocate", "--orderid", "o", "--sku", "s", "--qty", "0", settings=fresh_service.settings)
    assert done.returncode == 2
    assert "qty" in done.stderr

    # A shell's variable that is not set, perhaps: a new id would let the command have its effect twice.
    batch = ("--batchref", "b", "--sku", "s", "--qty", "1")
    done = run_verb("send", "create-batch", *batch, "--message-id", "", settings=fresh_service.settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert "message_id" in done.stderr


def test_migrate_and_topology_can_be_repeated(fresh_service: RunningService) -> None:
    for verb in ("migrate", "topology"):
        done = run_verb(verb, settings=fresh_service.settings)
        assert (done.returncode, done.stderr.count("rror")) == (0, 0)


def test_a_topology_that_lacks_a_queue_is_told_and_left_as_it_is(fresh_service: RunningService) -> None:
    assert run_verb("topology", "--check", settings=fresh_service.settings).returncode == 0
    with closing(pika.BlockingConnection(pika.URLParameters(fresh_service.amqp_url))) as connection:
        connection.channel().queue_delete(STOCK_QUEUE)
    for _ in range(2):
        done = run_verb("topology", "--check", settings=fresh_service.settings)
        assert (done.returncode, done.stderr.count("\n")) == (4, 1)
        assert f"The queue {STOCK_QUEUE}" in done.stderr


def test_processes_and_verify_say_what_weakens_the_guarantees(fresh_service: RunningService) -> None:
    engine = sa.create_engine(fresh_service.database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE inbox_entries SET UNLOGGED"))
    engine.dispose()
    for verb in ("consume", "relay"):
        process = fresh_service.start(verb)
        process.wait_for("ready")
        assert '"event": "durability"' in process.log
        assert '"kind": "unlogged-table"' in process.log
    done = run_verb("verify", settings=fresh_service.settings)
    assert done.returncode == 4
    assert "The table inbox_entries is unlogged: a crash of the server empties it" in done.stdout
    assert "The guarantees rest on: server_version " in done.stdout
    found = json.loads(run_verb("verify", "--json", settings=fresh_service.settings).stdout)
    assert "unlogged-table" in [fault["kind"] for fault in found["faults"]]
    assert found["durability"]["fsync"] == "on"


def test_the_verbs_that_print_can_print_json(fresh_service: RunningService, redis_server: RedisServer) -> None:
    fresh_service.settings["ALLOCATION_REDIS_URL"] = redis_server.new_database()

    def ask(*words: str, text: str = "", code: int = 0) -> Any:
        done = run_verb(*words, "--json", settings=fresh_service.settings, text=text)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    migrated = ask("migrate")
    assert migrated["before"] == migrated["after"]
    assert ask("topology")["outdated"] == {}
    checked = ask("topology", "--check")
    assert (checked["missing"], checked["findings"], len(checked["unseen"])) == (None, [], 1)
    batch = ("--batchref", "b", "--sku", "LAMP", "--qty", "5", "--message-id", "b/1")
    assert ask("send", "create-batch", *batch) == {"message_id": "b/1"}
    rows = "orderid,sku,qty\no1,LAMP,1\no2,LAMP,1\n"
    sent = ask("send", "--file", "-", "--type", "allocate", text=rows)
    assert re.fullmatch(r"file-[0-9a-f]+/ROW", sent.pop("message_ids"))
    assert sent == {"file": "standard input", "confirmed": 2, "skipped": 0}
    with fresh_service.client() as client:
        fresh_service.start("consume")
        fresh_service.start("relay")
        wait_for_progress(client, 3)
        client.publish_raw(b"{", routing_key="allocate", properties=BasicProperties(message_id="x", type="allocate.v1"))
        wait_until(lambda: fresh_service.count_dead_letters() == 1, within=30, otherwise=fresh_service.logs)
    assert ask("project", "--rebuild") == {"skus": 1}
    assert ask("dead-letters", "redrive", "--all", code=4) == {"redriven": 0, "left": 1}
    assert ask("dead-letters", "discard", "--all", "--yes") == {"discarded": 1}
    assert ask("replay", "--sku", "LAMP", "--from", "1", "--queue", "allocation.read-model") == {
        "sku": "LAMP",
        "queue": "allocation.read-model",
        "events": 3,
        "first": 1,
        "last": 3,
    }
    with closing(psycopg2.connect(dsn_of(fresh_service))) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE batches SET allocated = allocated + 1")
        connection.commit()
    assert [(fault["kind"], fault["count"]) for fault in ask("verify", code=4)["faults"]] == [
        ("allocated-miscounted", 1)
    ]
    with closing(pika.BlockingConnection(pika.URLParameters(fresh_service.amqp_url))) as broker:
        broker.channel().queue_delete(STOCK_QUEUE)
    assert f"The queue {STOCK_QUEUE}" in ask("topology", "--check", code=4)["missing"]


def test_a_shell_gets_completions(fresh_service: RunningService) -> None:
    asked = {"_ALLOCATION_WORKER_COMPLETE": "complete_bash", "COMP_WORDS": "allocation-worker ver", "COMP_CWORD": "1"}
    program = Path(sys.executable).with_name("allocation-worker")
    env = {**os.environ, **fresh_service.settings, **asked}
    done = subprocess.run([program], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["verify"]
