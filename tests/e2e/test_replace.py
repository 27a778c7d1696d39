"""`topology --replace` while the service runs and programs publish, killed again and again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pika
import pytest

from allocation_contracts import ORDERS_QUEUE, STOCK_QUEUE, Allocate, ChangeBatchQuantity, CreateBatch
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.old_queues import make_old
from harness.processes import run_verb
from harness.service import RunningService

# A step, or a moved message, after which the program kills itself; each run repeats the steps that can be repeated.
KILLED = {
    "bindings half made": ("replace-step", 8),
    "stand-in bound": ("replace-step", 14),
    "old queue deleted": ("replace-step", 15),
    "third message moved": ("replace-moved", 3),
    "publishers refused": ("replace-step", 7),
    "stand-in deleted": ("replace-step", 9),
}


@pytest.fixture
def old_service(fresh_service: RunningService) -> RunningService:
    """A service whose command queues were declared by a version that knew fewer arguments."""
    fresh_service.settings["ALLOCATION_MANAGEMENT_URL"] = fresh_service.servers.broker.management_url
    with closing(pika.BlockingConnection(pika.URLParameters(fresh_service.amqp_url))) as connection:
        make_old(connection.channel(), STOCK_QUEUE, **{"x-single-active-consumer": True})
        make_old(connection.channel(), ORDERS_QUEUE)
    return fresh_service


@pytest.mark.timeout(600)
def test_a_backlog_keeps_its_order_although_it_is_killed_while_it_moves_it(old_service: RunningService) -> None:
    """Nobody consumes the queue, so it is moved twice: out of the old queue, and into the new one."""
    del old_service.settings["ALLOCATION_MANAGEMENT_URL"]
    with old_service.client() as client:
        sent = [
            client.send(ChangeBatchQuantity(batchref="b", qty=number), message_id=f"b/{number}")
            for number in range(4000)
        ]
        client.wait_confirmed()
    for moved in (700, 2500, 600, 100, 2900):
        victim = old_service.start("topology", "--replace", STOCK_QUEUE, crash=("replace-moved", moved))
        wait_until(lambda: victim.exit_code is not None, within=60, otherwise=lambda: victim.log)  # noqa: B023 - asked at once
        assert victim.exit_code == -signal.SIGKILL, victim.log[-2000:]
    done = run_verb("topology", "--replace", STOCK_QUEUE, settings=old_service.settings)
    assert done.returncode == 0, done.stderr
    got = []
    with closing(pika.BlockingConnection(pika.URLParameters(old_service.amqp_url))) as connection:
        for _, properties, _ in connection.channel().consume(STOCK_QUEUE, auto_ack=True, inactivity_timeout=2):
            if properties is None:
                break
            got.append(properties.message_id)
    assert list(dict.fromkeys(got)) == sent
    assert len(got) - len(sent) <= 1000 * 5


@contextmanager
def trading(client: ExternalClient) -> Iterator[None]:
    """Orders, and ever new quantities of one batch, each once the one before is confirmed, with a pause now and then.

    A replacement waits for a pause for up to a minute.
    """
    ended = threading.Event()

    def publish() -> None:
        number = 0
        while not ended.wait(0.02 if number % 40 else 0.3):
            number += 1
            client.send(ChangeBatchQuantity(batchref="b", qty=100_000 + number), message_id=f"b/{number}")
            client.send(Allocate(orderid=f"o{number}", sku="LAMP", qty=1), message_id=f"o/{number}")
            client.wait_confirmed()

    client.ask(CreateBatch(batchref="b", sku="LAMP", qty=100_000))
    thread = threading.Thread(target=publish)
    thread.start()
    yield
    ended.set()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.timeout(600)  # each run waits for the broker's count
def test_a_queue_is_replaced_under_traffic_although_it_is_killed_again_and_again(old_service: RunningService) -> None:
    old_service.start("consume")
    old_service.start("relay")
    found = run_verb("topology", "--check", settings=old_service.settings)
    assert found.returncode == 4
    assert "run `allocation-worker topology --replace allocation.stock`" in found.stderr
    with old_service.client() as client:
        with trading(client):
            replace(old_service)
        client.wait_answered()
        report = old_service.judge(client)
        assert report.faults == []
        quantities = [event.data["qty"] for event in client.received if event.type == "batch-quantity-changed.v1"]
    assert old_service.count_dead_letters() == 0
    assert quantities == [100_000 + number for number in range(1, len(quantities) + 1)]
    checked = run_verb("topology", "--check", settings=old_service.settings)
    assert (checked.returncode, checked.stdout) == (0, "All exchanges and queues are as they are to be.\n")


def replace(service: RunningService) -> None:
    """Replace both queues, the first one with many interruptions."""
    for where, crash in KILLED.items():
        victim = service.start("topology", "--replace", STOCK_QUEUE, crash=crash)
        wait_until(lambda: victim.exit_code is not None, within=60, otherwise=lambda: victim.log)  # noqa: B023 - asked at once
        assert victim.exit_code == -signal.SIGKILL, f"{where}: {victim.log}"
    unfinished = run_verb("topology", "--check", settings=service.settings)
    assert "`allocation-worker topology --replace allocation.stock` goes on with it." in unfinished.stderr
    for queue in (STOCK_QUEUE, ORDERS_QUEUE):
        done = run_verb("topology", "--replace", queue, settings=service.settings)
        assert done.returncode == 0, done.stderr
        assert f"The queue {queue} is replaced" in done.stdout
    again = run_verb("topology", "--replace", STOCK_QUEUE, settings=service.settings)
    assert again.stdout == f"The queue {STOCK_QUEUE} has the right arguments already.\n"
