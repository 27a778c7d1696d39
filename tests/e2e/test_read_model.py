"""The read model under kills, a loss of all data in Redis, and a rebuild."""

import json
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pika
import pytest
import sqlalchemy as sa

from allocation_contracts import (
    EVENTS_EXCHANGE,
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.redis_server import LocalRedis, RedisServer, local_redis
from allocation_worker.testing.waiting import wait_until
from harness.checker import read_model as comparing
from harness.client import ExternalClient
from harness.crash_points import PROJECT_POINTS, REBUILD_POINTS
from harness.processes import run_verb
from harness.service import RunningService


def one_always(points: Iterable[str], always: str) -> list[Any]:
    """One of them in every run of the tests; all in the long ones."""
    return [point if point == always else pytest.param(point, marks=pytest.mark.long) for point in points]


A_FEW_AT_A_TIME = {"ALLOCATION_GROUP_LIMIT": "7", "ALLOCATION_PREFETCH": "40"}


@pytest.fixture
def projected(servers: Servers, redis_server: RedisServer, tmp_path: Path) -> Iterator[RunningService]:
    """A fresh service with a consumer and a relay, and an empty Redis; nothing is projected yet."""
    with RunningService(servers, tmp_path, {"ALLOCATION_REDIS_URL": redis_server.new_database()}) as service:
        service.start("consume")
        service.start("relay")
        yield service


def differences(service: RunningService) -> list[str]:
    return comparing.compare(
        comparing.read_model(service.settings["ALLOCATION_REDIS_URL"]), comparing.write_model(service.database_url)
    )


def wait_until_equal(service: RunningService, within: float = 60) -> None:
    wait_until(
        lambda: not differences(service),
        within=within,
        otherwise=lambda: "\n".join([*differences(service), service.logs()[-3000:]]),
        every=0.1,
    )


def send_mixed_commands(client: ExternalClient, name: str, orders: int = 60) -> None:
    for batch, qty in (("shelf", orders), ("ship", orders)):
        client.send(CreateBatch(batchref=f"{name}-{batch}", sku=name, qty=qty))
    client.wait_answered()  # or orders would wait for their SKU, and be overtaken by their cancellations
    for number in range(orders):
        client.send(Allocate(orderid=f"{name}-{number}", sku=name, qty=1 + number % 3))
        if number % 10 == 9:
            client.send(Deallocate(orderid=f"{name}-{number}", sku=name))
    client.send(ChangeBatchQuantity(batchref=f"{name}-shelf", qty=orders // 3))
    client.wait_answered()


def test_what_was_decided_before_and_after_its_start_is_shown(projected: RunningService) -> None:
    with projected.client() as client:
        send_mixed_commands(client, "BEFORE")
        project = projected.start("project")
        wait_until_equal(projected)
        send_mixed_commands(client, "AFTER")
        wait_until_equal(projected)
        assert project.terminate() == 0
        assert "stopped" in project.log

    order = run_verb("show", "order", "AFTER-9", "--json", settings=projected.settings)
    [line] = json.loads(order.stdout)["lines"]
    assert (line["sku"], line["status"], line["qty"]) == ("AFTER", "cancelled", 1)
    sku = json.loads(run_verb("show", "sku", "BEFORE", "--json", settings=projected.settings).stdout)
    assert [batch["purchased"] for batch in sku["batches"]] == [20, 60]
    assert sku["available"] == sum(batch["available"] for batch in sku["batches"])
    batch = run_verb("show", "batch", "BEFORE-ship", settings=projected.settings)
    assert "BEFORE-ship" in batch.stdout
    assert "in the warehouse" in batch.stdout
    stock = run_verb("show", "stock", "--below", "50", "--json", settings=projected.settings)
    assert {each["sku"] for each in json.loads(stock.stdout)["skus"]} == {"BEFORE", "AFTER"}
    unknown = run_verb("show", "order", "nobody", settings=projected.settings)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (3, 1)
    assert re.fullmatch(
        r"Nothing is known of order 'nobody'\. The read model is as of \d+ s ago: `project` is not running\. "
        r"`allocation-worker explain --order nobody` asks the database\.\n",
        unknown.stderr,
    )


def test_what_waits_is_held_has_lapsed_or_was_shipped_is_shown(projected: RunningService) -> None:
    project = projected.start("project")
    now = datetime.now(UTC)
    with projected.client() as client:
        client.ask(CreateBatch(batchref="ship", sku="LAMP", qty=10, eta=date(2030, 1, 1)))
        for command in (
            Allocate(orderid="shipped", sku="LAMP", qty=2),
            Allocate(orderid="resized", sku="LAMP", qty=2),
            Allocate(orderid="waits", sku="LAMP", qty=20, wait=True),
            Hold(orderid="held", sku="LAMP", qty=1, until=now + timedelta(hours=1)),
            Hold(orderid="confirmed", sku="LAMP", qty=1, until=now + timedelta(hours=1)),
            Hold(orderid="lapsed", sku="LAMP", qty=1, until=now + timedelta(seconds=1)),
            ChangeLineQuantity(orderid="resized", sku="LAMP", qty=3),
            ChangeLineQuantity(orderid="held", sku="LAMP", qty=2),
            ChangeBatchEta(batchref="ship", eta=None),
            Allocate(orderid="confirmed", sku="LAMP", qty=1),
            Ship(orderid="shipped", sku="LAMP"),
        ):
            client.ask(command)
        wait_until(
            lambda: "hold-lapsed.v1" in {event.type for event in client.received}, within=30, otherwise=projected.logs
        )
        wait_until_equal(projected)
    expected = {
        "shipped": ("shipped", 2),
        "resized": ("allocated", 3),
        "waits": ("waiting", 20),
        "held": ("held", 2),
        "confirmed": ("allocated", 1),
        "lapsed": ("lapsed", 0),
    }
    assert {order: shown(projected, order) for order in expected} == expected
    assert project.terminate() == 0
    done = run_verb("project", "--rebuild", settings=projected.settings)
    assert done.returncode == 0, done.stderr
    assert differences(projected) == []
    assert {order: shown(projected, order) for order in expected} == expected


def shown(service: RunningService, order: str) -> tuple[str, int]:
    """The status and the quantity of the only line of an order."""
    [line] = json.loads(run_verb("show", "order", order, "--json", settings=service.settings).stdout)["lines"]
    return line["status"], line["qty"]


def test_what_it_has_not_heard_of_yet_is_never_denied(projected: RunningService) -> None:
    with projected.client() as client:
        project = projected.start("project")
        client.ask(CreateBatch(batchref="b", sku="LAMP", qty=9))
        client.ask(Allocate(orderid="early", sku="LAMP", qty=9))
        client.ask(Allocate(orderid="early", sku="LAMP", qty=8))  # another quantity is rejected
        wait_until_equal(projected)
        wait_until(
            lambda: "line-quantity-conflict" in run_verb("show", "order", "early", settings=projected.settings).stdout,
            within=30,
            otherwise=projected.logs,
        )
        shown = json.loads(run_verb("show", "order", "early", "--json", settings=projected.settings).stdout)
        assert shown["read_model"]["current"] is True
        assert [each["reason"] for each in shown["rejections"]] == ["line-quantity-conflict"]
        project.kill()
        client.ask(Allocate(orderid="late", sku="LAMP", qty=1))
        wait_until(
            lambda: projected.servers.broker.queue_depths(projected.amqp_url)["allocation.read-model"] == 1,
            within=20,
            otherwise=projected.logs,
        )
    late = run_verb("show", "order", "late", settings=projected.settings)
    assert late.returncode == 3
    assert "`project` is not running, and 1 event waits for it." in late.stderr


@pytest.mark.parametrize("point", one_always(PROJECT_POINTS, "event-applied"))
def test_project_killed_again_and_again_at(point: str, projected: RunningService) -> None:
    with projected.client() as client:
        first = projected.start("project")
        first.wait_for("ready")
        first.kill()
        send_mixed_commands(client, "SKU")
        for nth in (1, 3, 2):
            victim = projected.start("project", crash=(point, nth), settings=A_FEW_AT_A_TIME)
            wait_until(lambda: victim.exit_code is not None, within=30, otherwise=lambda: victim.log)  # noqa: B023 - asked at once
            assert victim.exit_code == -signal.SIGKILL, victim.log
            client.send(Allocate(orderid=f"after-{nth}", sku="SKU", qty=1))
            client.wait_answered()
        projected.start("project")
        wait_until_equal(projected)


@pytest.mark.parametrize("point", one_always(REBUILD_POINTS, "lines-written"))
def test_a_rebuild_killed_at(point: str, projected: RunningService) -> None:
    """One SKU's history is gone, so that the tables are read as well as the history."""
    with projected.client() as client:
        projected.start("project").wait_for("ready")
        send_mixed_commands(client, "KEPT", 20)
        send_mixed_commands(client, "PRUNED", 20)
        wait_until_equal(projected)
        engine = sa.create_engine(projected.database_url)
        with engine.begin() as connection:
            # Each command of this SKU was answered in a transaction of its own.
            connection.execute(
                sa.text("DELETE FROM outbox_pages WHERE id IN (SELECT id / 8192 FROM events WHERE sku = 'PRUNED')")
            )
        engine.dispose()
        victim = projected.start("project", "--rebuild", crash=(point, 1))
        assert victim.wait() == -signal.SIGKILL, victim.log
        client.send(Allocate(orderid="afterwards", sku="KEPT", qty=1))
        client.wait_answered()
        wait_until_equal(projected)
        done = run_verb("project", "--rebuild", settings=projected.settings)
        assert (done.returncode, done.stdout) == (0, "The read model was rebuilt: 2 SKUs.\n"), done.stderr
        wait_until_equal(projected)


@pytest.mark.long
def test_project_waits_for_an_exchange_that_does_not_stand_yet(projected: RunningService) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(projected.amqp_url))) as connection:
        connection.channel().exchange_delete(EVENTS_EXCHANGE)
    project = projected.start("project")
    project.wait_for_log("run `allocation-worker topology`")
    assert run_verb("topology", settings=projected.settings).returncode == 0
    project.wait_for("ready")


@pytest.mark.long
def test_a_second_project_stands_by_and_takes_over(projected: RunningService) -> None:
    with projected.client() as client:
        first, second = projected.start("project"), projected.start("project")
        first.wait_for("ready")
        second.wait_for("ready")
        for name, victim in (("ONE", first), ("TWO", second)):
            send_mixed_commands(client, name)
            wait_until_equal(projected)
            victim.kill()
            projected.start("project")
        wait_until_equal(projected)


@pytest.mark.long
def test_killed_while_it_builds_for_the_first_time(projected: RunningService) -> None:
    """The generation that was begun stands in the way until it closes by itself."""
    with projected.client() as client:
        send_mixed_commands(client, "SKU")
        victim = projected.start("project", crash=("begun", 1))
        assert victim.wait() == -signal.SIGKILL, victim.log
        refused = run_verb("show", "sku", "SKU", settings=projected.settings)
        assert (refused.returncode, refused.stderr.count("\n")) == (69, 1)
        assert "There is no read model in Redis at" in refused.stderr
        project = projected.start("project")
        project.wait_for_log("Another process is building the read model")
        wait_until_equal(projected)


@pytest.mark.long
def test_a_rebuild_under_load_loses_nothing(projected: RunningService) -> None:
    with projected.client() as client:
        projected.start("project")
        for number in range(20):
            client.send(CreateBatch(batchref=f"b{number}", sku=f"SKU-{number}", qty=100))
        client.wait_answered()
        rebuilds = [projected.start("project", "--rebuild")]
        for number in range(2000):
            client.send(Allocate(orderid=f"o{number}", sku=f"SKU-{number % 20}", qty=1))
            if number == 1000:
                rebuilds[0].wait_for("read_model_building")
                rebuilds.append(projected.start("project", "--rebuild"))
        client.wait_answered()
        assert rebuilds[1].wait() == 0
        assert rebuilds[0].wait() == 0 or "Another rebuild of the read model has begun" in rebuilds[0].log
        wait_until_equal(projected)


@pytest.fixture
def own_redis() -> Iterator[LocalRedis]:
    with local_redis() as redis:
        yield redis


def test_a_redis_that_goes_and_comes_back_empty_is_filled_again_without_a_loss(
    projected: RunningService, own_redis: LocalRedis
) -> None:
    projected.settings["ALLOCATION_REDIS_URL"] = own_redis.url
    with projected.client() as client:
        project = projected.start("project")
        send_mixed_commands(client, "BEFORE")
        wait_until_equal(projected)
        own_redis.kill()
        refused = run_verb("show", "sku", "BEFORE", settings=projected.settings)
        assert (refused.returncode, refused.stderr.count("\n")) == (69, 1)
        assert "Redis at redis://127.0.0.1:" in refused.stderr
        send_mixed_commands(client, "MEANWHILE")
        project.wait_for("waiting", waiting_for="Redis, or the database")
        own_redis.start()
        wait_until_equal(projected)
        assert project.exit_code is None
    depths = projected.servers.broker.queue_depths(projected.amqp_url)
    assert depths["allocation.dead-letters"] == 0


def test_an_event_that_breaks_the_contract_is_a_dead_letter_and_harms_no_other(projected: RunningService) -> None:

    with projected.client() as client:
        projected.start("project").wait_for("ready")
        with pika.BlockingConnection(pika.URLParameters(projected.amqp_url)) as connection:
            connection.channel().basic_publish(
                "", "allocation.read-model", b"{", pika.BasicProperties(type="allocated.v1")
            )
        send_mixed_commands(client, "SKU", 10)
        wait_until_equal(projected)
    wait_until(
        lambda: projected.servers.broker.queue_depths(projected.amqp_url)["allocation.dead-letters"] == 1,
        within=20,
        otherwise=projected.logs,
    )
