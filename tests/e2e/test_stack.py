"""The test kit, as the tests of another team use it."""

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pika
import psycopg2
import pytest

from allocation_contracts import (
    COMMANDS_EXCHANGE,
    EVENTS_EXCHANGE,
    Allocate,
    Allocated,
    Backordered,
    BatchCreated,
    BatchEtaChanged,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CommandRejected,
    CreateBatch,
    Deallocate,
    Held,
    Hold,
    HoldLapsed,
    LineQuantityChanged,
    OutOfStock,
    PromiseChanged,
    Ship,
    Shipped,
    encode,
)
from allocation_contracts.amqp import Outgoing, Publisher
from allocation_worker.testing import AllocationStack, NotArrivedError, StackError
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until

CHAIRS = CreateBatch(batchref="batch-1", sku="CHAIR", qty=10)


@pytest.fixture(scope="module")
def running_stack(servers: Servers) -> Iterator[AllocationStack]:
    with AllocationStack({"ALLOCATION_GRACE_ATTEMPTS": "1"}, servers=servers) as running:
        yield running


@pytest.fixture
def stack(running_stack: AllocationStack) -> AllocationStack:
    running_stack.reset()
    return running_stack


def publish_raw(stack: AllocationStack, body: bytes, properties: pika.BasicProperties, routing_key: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(COMMANDS_EXCHANGE, routing_key, body, properties)


def test_an_event_comes_back_as_its_type(stack: AllocationStack) -> None:
    stack.send(CHAIRS)
    stack.expect(BatchCreated, batchref="batch-1")

    asked = stack.send(Allocate(orderid="o1", sku="CHAIR", qty=3), message_id="ask-1", correlation_id="basket-1")
    event = stack.expect(Allocated, orderid="o1", caused_by=asked)

    assert asked == "ask-1"
    assert event == Allocated(orderid="o1", sku="CHAIR", lineid="", qty=3, batchref="batch-1", eta=None, sequence=2)
    assert stack.expect(Allocated, orderid="o1") == event
    assert [type(each) for each in stack.events()] == [BatchCreated, Allocated]
    assert stack.dead_letters() == []


def test_what_did_not_arrive_is_told_with_what_did(stack: AllocationStack) -> None:
    stack.send(CHAIRS)
    stack.expect(BatchCreated)
    stack.send(Allocate(orderid="o1", sku="CHAIR", qty=11))
    stack.expect(OutOfStock)
    publish_raw(stack, b'{"orderid": ', pika.BasicProperties(message_id="torn", type="allocate.v1"), "allocate")
    wait_until(lambda: bool(stack.dead_letters()), within=10, otherwise=stack.story)
    stack.send(Allocate(orderid="o2", sku="TABLE", qty=1), message_id="waiting-for-its-batch")

    with pytest.raises(NotArrivedError) as failure:
        stack.expect(Allocated, orderid="o1", within=0.1, caused_by="me")

    text = str(failure.value)
    assert text.startswith("Allocated orderid='o1', caused by 'me', did not arrive within 0.1 s.\n")
    assert "  Allocate orderid='o2' sku='TABLE' qty=1 lineid='' 'waiting-for-its-batch'\n" in text
    assert "2 events have arrived:\n  BatchCreated batchref='batch-1'" in text
    assert "  OutOfStock orderid='o1' sku='CHAIR' lineid='' qty=11 largest_available=10" in text
    assert "1 dead letter has arrived:\n  allocate.v1 'torn': invalid-json. The body is not valid JSON" in text


def test_events_gives_all_that_stands_there_by_now(stack: AllocationStack) -> None:
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(1, 1102):  # more than are in hand at a time
            event = BatchCreated(batchref=f"b{number}", sku="CHAIR", qty=1, eta=None, sequence=number)
            properties = pika.BasicProperties(type=event.TYPE, message_id=str(number))
            channel.basic_publish(EVENTS_EXCHANGE, event.ROUTING_KEY, encode(event), properties)

    assert [event.sequence for event in stack.events() if isinstance(event, BatchCreated)] == list(range(1, 1102))


def test_an_event_of_a_later_version_is_left_out(stack: AllocationStack) -> None:
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(type="gift-wrapped.v1", message_id="m1")
        channel.basic_publish(EVENTS_EXCHANGE, "gift-wrapped", b'{"sku": "CHAIR", "sequence": 1}', properties)
    stack.send(CHAIRS)
    stack.expect(BatchCreated)
    assert [type(each) for each in stack.events()] == [BatchCreated]


def test_every_command_can_be_sent_and_every_event_expected(stack: AllocationStack) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    stack.send(CreateBatch(batchref="ship", sku="CHAIR", qty=10, eta=date(2030, 1, 1)))
    stack.send(Allocate(orderid="o1", sku="CHAIR", qty=4))
    stack.expect(Allocated, orderid="o1", eta=date(2030, 1, 1))
    stack.send(ChangeLineQuantity(orderid="o1", sku="CHAIR", qty=5, from_qty=4))
    stack.expect(LineQuantityChanged, orderid="o1", qty=5, previous_qty=4)
    stack.send(Allocate(orderid="o2", sku="CHAIR", qty=6, wait=True))
    stack.expect(Backordered, orderid="o2")
    asked = stack.send(Hold(orderid="basket", sku="CHAIR", qty=5, until=soon))
    stack.expect(Held, orderid="basket", batchref="ship")
    stack.expect(HoldLapsed, orderid="basket", caused_by=asked, within=30)
    asked = stack.send(ChangeLineQuantity(orderid="o1", sku="CHAIR", qty=4))
    stack.expect(Allocated, orderid="o2", caused_by=asked)
    stack.send(ChangeBatchEta(batchref="ship", eta=None))
    stack.expect(BatchEtaChanged, batchref="ship")
    stack.expect(PromiseChanged, orderid="o2", eta=None, previous_eta=date(2030, 1, 1))
    stack.send(Ship(orderid="o1", sku="CHAIR"))
    stack.expect(Shipped, orderid="o1", qty=4)
    assert stack.dead_letters() == []


def test_a_field_that_the_event_does_not_have_is_told_at_once(stack: AllocationStack) -> None:
    with pytest.raises(TypeError, match=r"Allocated has no field order_id; it has orderid, sku, .*sequence\."):
        stack.expect(Allocated, order_id="o1")


def test_dead_letters_tell_why_they_are_dead(stack: AllocationStack) -> None:
    publish_raw(stack, b"[]", pika.BasicProperties(message_id="m1", type="allocate.v1"), "allocate")
    publish_raw(stack, b"{}", pika.BasicProperties(message_id="m2"), "nowhere")
    wait_until(lambda: len(stack.dead_letters()) == 2, within=10, otherwise=stack.story)

    by_id = {letter.message_id: letter for letter in stack.dead_letters()}

    assert (by_id["m1"].reason, by_id["m1"].type, by_id["m1"].body) == ("invalid-json", "allocate.v1", b"[]")
    assert by_id["m1"].headers["x-original-queue"] == "allocation.orders"
    assert (by_id["m2"].reason, by_id["m2"].detail) == ("unroutable", "No queue takes the routing key 'nowhere'.")


def test_a_process_that_dies_is_told_with_its_log_and_replaced_at_the_next_reset(stack: AllocationStack) -> None:
    stack.send(CHAIRS)
    stack.expect(BatchCreated)
    stack._children[0].send(signal.SIGKILL)
    stack._children[0].wait(10)

    with pytest.raises(StackError, match=r"(?s)consume has ended with -9\. Its log ends:\n.*consuming"):
        stack.expect(Allocated)
    with pytest.raises(StackError, match="consume has ended with -9"):
        stack.reset()

    stack.send(CHAIRS)
    assert stack.expect(BatchCreated).sequence == 1


def test_a_lost_broker_connection_loses_no_event(stack: AllocationStack) -> None:
    stack.send(CHAIRS)
    first = stack.expect(BatchCreated)
    connection: Any = stack._arrivals._connection
    connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)  # as a network that fails

    asked = stack.send(Allocate(orderid="o1", sku="CHAIR", qty=3))

    assert stack.expect(Allocated, caused_by=asked).sequence == first.sequence + 1


def a_round(number: int, luck: random.Random) -> list[tuple[str, Command]]:
    """Commands of every kind, by message_id; the names are the same in each round, so that a trace would show."""
    commands: list[Command] = [CreateBatch(batchref=f"b{sku}", sku=f"SKU-{sku}", qty=50 + number) for sku in range(3)]
    for line in range(1000):
        sku, orderid = f"SKU-{luck.randrange(4)}", f"o{line}"  # SKU-3 is never created: through the retry queue
        commands.append(Allocate(orderid=orderid, sku=sku, qty=luck.randrange(1, 5)))
        if luck.random() < 0.2:
            commands.append(Deallocate(orderid=orderid, sku=sku))
        if luck.random() < 0.1:
            commands.append(ChangeBatchQuantity(batchref=f"b{luck.randrange(3)}", qty=luck.randrange(80)))
    return [(f"round-{number}/{position}", command) for position, command in enumerate(commands)]


def assert_only_this_round_was_felt(stack: AllocationStack, number: int) -> None:
    prefix = f"round-{number}/"
    strangers = [arrival for arrival in stack._arrivals.events if not arrival.causation_id.startswith(prefix)]
    assert strangers == []
    assert [letter for letter in stack.dead_letters() if not letter.message_id.startswith(prefix)] == []
    with closing(psycopg2.connect(stack.database_url.replace("+psycopg2", ""))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT causation_id FROM events")
        assert [row for row in cursor if not row[0].startswith(prefix)] == []


def reset_in_flight(stack: AllocationStack, rounds: int) -> list[float]:
    """Reset while commands are in every place that there is; how long each took, in seconds."""
    luck = random.Random(rounds)
    took = []
    for number in range(rounds):
        commands = a_round(number, luck)
        with Publisher(stack.amqp_url) as publisher:
            publisher.publish_all(Outgoing(command=command, message_id=message_id) for message_id, command in commands)
        publish_raw(
            stack, b"[]", pika.BasicProperties(message_id=f"round-{number}/bad", type="allocate.v1"), "allocate"
        )
        enough = luck.choice([0, 1, 20, 300, 900])
        wait_until(lambda least=enough: len(stack.events()) >= least, within=30, otherwise=stack.story)  # type: ignore[misc] # mypy does not infer lambdas with defaults
        assert_only_this_round_was_felt(stack, number)
        begin = monotonic()
        stack.reset()
        took.append(monotonic() - begin)
    # What waited in a retry queue would come back a second later, and be answered before this is given up.
    stack.send(Allocate(orderid="o1", sku="NEVER-SEEN", qty=1), message_id=f"round-{rounds}/last")
    assert stack.expect(CommandRejected, within=30).reason == "unknown-sku"
    assert_only_this_round_was_felt(stack, rounds)
    return sorted(took)


def test_a_reset_with_commands_in_flight_leaves_nothing_and_is_faster_than_a_start(
    stack: AllocationStack, servers: Servers
) -> None:
    took = reset_in_flight(stack, rounds=4)
    began = monotonic()
    with AllocationStack(servers=servers):
        start = monotonic() - began
    assert took[len(took) // 2] < start, (took, start)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_hundreds_of_resets_with_commands_in_flight_leave_nothing(stack: AllocationStack) -> None:
    took = reset_in_flight(stack, rounds=300)
    print(f"median {took[150]:.3f} s, longest {took[-1]:.3f} s")  # noqa: T201 - to be read with -rP


def test_queues_of_the_program_under_test_are_emptied_and_stay(stack: AllocationStack) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(stack.amqp_url))) as connection:
        channel = connection.channel()
        channel.queue_declare("shop.answers", durable=True)
        channel.queue_bind("shop.answers", "allocation.events", "#")
        stack.send(CHAIRS)
        stack.expect(BatchCreated)
        stack.reset()
        assert channel.queue_declare("shop.answers", passive=True).method.message_count == 0
        stack.send(CHAIRS)
        stack.expect(BatchCreated)
        wait_until(
            lambda: channel.queue_declare("shop.answers", passive=True).method.message_count == 1,
            within=10,
            otherwise=lambda: "the binding is gone",
        )
        channel.queue_delete("shop.answers")


def test_no_process_outlives_the_one_that_asked_for_it(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from allocation_worker.testing.forkserver import ForkServer
away = {{"ALLOCATION_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}}
fork_server = ForkServer()
child = fork_server.start("relay", settings=away, log=Path({str(tmp_path / "log")!r}))
while '"waiting_for": "the database"' not in child.log:
    assert child.wait(0.05) is None, child.log
print(fork_server._process.pid, child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    wait_until(lambda: not any(map(runs, pids)), within=10, otherwise=lambda: f"{pids} still run")


def runs(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_reset_leaves_out_queues_that_cannot_be_emptied_from_outside(stack: AllocationStack) -> None:
    with pika.BlockingConnection(pika.URLParameters(stack.amqp_url)) as connection:
        channel = connection.channel()
        channel.queue_declare("mine-alone", exclusive=True)
        channel.queue_declare("a-stream", durable=True, arguments={"x-queue-type": "stream"})
        channel.queue_declare("shipping.picks", durable=True)
        for name in ("mine-alone", "a-stream", "shipping.picks"):
            channel.basic_publish("", name, b"{}")
        stack.reset()
        left = {name: channel.queue_declare(name, passive=True) for name in ("mine-alone", "shipping.picks")}
        assert {name: answer.method.message_count for name, answer in left.items()} == {
            "mine-alone": 1,
            "shipping.picks": 0,
        }
        for name in ("a-stream", "shipping.picks"):
            channel.queue_delete(name)
    stack.send(CHAIRS)
    stack.expect(BatchCreated, batchref="batch-1")


def test_the_settings_of_this_process_do_not_reach_the_stack(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be those of production: an address, or a setting that is read from a file."""
    monkeypatch.setenv("ALLOCATION_AMQP_URL", "amqp://production.example.net")
    monkeypatch.setenv("ALLOCATION_DATABASE_URL_FILE", "/run/secrets/production")
    with AllocationStack(servers=servers) as stack:
        stack.send(CHAIRS)
        stack.expect(BatchCreated, batchref="batch-1")
