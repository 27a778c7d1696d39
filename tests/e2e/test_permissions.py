"""Each program with a broker user of its own, which may do what `docker/permissions.json` says and no more."""

import json
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from allocation_contracts import (
    COMMANDS,
    COMMANDS_EXCHANGE,
    ORDERS_QUEUE,
    STOCK_QUEUE,
    Allocate,
    Allocated,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Event,
    Hold,
    Ship,
)
from allocation_contracts.amqp import Publisher, RefusedError, Subscriber
from allocation_contracts.message import encode
from allocation_contracts.names import EVENTS_EXCHANGE, PARKING_EXCHANGE
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.layout import READ_MODEL_QUEUE
from allocation_worker.adapters.rabbitmq.tail import tail_events
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.redis_server import RedisServer
from allocation_worker.testing.waiting import wait_until
from harness.processes import run_verb
from harness.service import RunningService

DOCKER = Path(__file__).parents[2] / "docker"
PERMISSIONS = json.loads((DOCKER / "permissions.json").read_text("utf-8"))
TOPIC_PERMISSIONS = json.loads((DOCKER / "topic-permissions.json").read_text("utf-8"))
PASSWORD = secrets.token_hex(8)
QUEUE = "shipping.picks"

Urls = Mapping[str, str]


@pytest.fixture(scope="module")
def service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    if servers.how != "programs":
        pytest.skip("only a broker that is ours gets other users")
    with RunningService(servers, tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def urls(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Urls:
    """The address of each user, once all have their permissions in the service's virtual host.

    RabbitMQ 4.3 takes topic permissions only for an exchange that is there.
    """
    folder = tmp_path_factory.mktemp("definitions")
    folder.chmod(0o755)
    users = [each["user"] for each in PERMISSIONS["permissions"]]
    urls = {user: re.sub(r"//[^@]*@", f"//{user}:{PASSWORD}@", service.amqp_url) for user in users}
    logins = {"users": [{"name": user, "password": PASSWORD, "tags": ""} for user in users]}
    import_definitions(service, folder / "permissions.json", logins | PERMISSIONS)
    topology.declare([urls["allocation-topology"]], retry_delays=[1, 2])
    import_definitions(service, folder / "topic-permissions.json", TOPIC_PERMISSIONS)
    return urls


def import_definitions(service: RunningService, file: Path, definitions: Mapping[str, list[dict[str, str]]]) -> None:
    vhost = service.amqp_url.rpartition("/")[2]
    here = {
        kind: [{**rule, "vhost": vhost} if "vhost" in rule else rule for rule in rules]
        for kind, rules in definitions.items()
    }
    file.write_text(json.dumps(here))
    file.chmod(0o644)
    service.servers.broker.ctl("import_definitions", str(file))


def as_user(urls: Urls, user: str) -> dict[str, str]:
    return {"ALLOCATION_AMQP_URL": urls[user]}


def test_nobody_may_write_to_the_default_exchange() -> None:
    for rule in PERMISSIONS["permissions"]:
        assert not re.search(rule["write"], "amq.default"), rule["user"]


def test_every_program_works_with_its_own_user(service: RunningService, urls: Urls, tmp_path: Path) -> None:
    """Topology, send, retry, dead letter, redrive, park and replay, as one story."""
    events: list[Event] = []
    repeats: list[Event] = []
    gaps: list[object] = []
    subscriber = Subscriber(
        urls["shipping"], QUEUE, on_gap=gaps.append, on_repeat=lambda event, _properties: repeats.append(event)
    )
    handle = (lambda event, _properties: events.append(event),)
    thread = threading.Thread(target=subscriber.run, args=handle, daemon=True)
    thread.start()
    quick = {"ALLOCATION_RETRY_DELAYS": "1", "ALLOCATION_GRACE_DELAY": "1"}
    consume = service.start("consume", settings={**as_user(urls, "allocation-consume"), **quick})
    measured = {"ALLOCATION_METRICS_FOLDER": str(tmp_path / "metrics"), "ALLOCATION_METRICS_INTERVAL": "1"}
    relay = service.start("relay", settings={**as_user(urls, "allocation-relay"), **measured})

    def story() -> str:
        return f"{events}\n{service.logs()[-5000:]}"

    with Publisher(urls["shop"]) as shop, Publisher(urls["purchasing"]) as purchasing:
        shop.publish(Allocate(orderid="early", sku="LAMP", qty=1), message_id="early")
        consume.wait_for_log("early")
        purchasing.publish(CreateBatch(batchref="b", sku="LAMP", qty=10))
        wait_until(lambda: any(isinstance(event, Allocated) for event in events), within=60, otherwise=story)
        with pytest.raises(RefusedError, match="ACCESS_REFUSED"):
            shop.publish(CreateBatch(batchref="stolen", sku="LAMP", qty=10))
    stolen = encode(CreateBatch(batchref="stolen", sku="LAMP", qty=1_000_000))
    smuggle(urls["shop"], "smuggled", stolen)
    wait_until(lambda: service.count_dead_letters() == 1, within=60, otherwise=story)
    listed = run_verb("dead-letters", "list", settings={**service.settings, **as_user(urls, "allocation-dead-letters")})
    assert "wrong-queue" in listed.stdout, listed.stderr
    redrive = ("dead-letters", "redrive", "--reason", "wrong-queue")
    redriven = run_verb(*redrive, settings={**service.settings, **as_user(urls, "allocation-dead-letters")})
    assert redriven.returncode == 0, redriven.stdout + redriven.stderr
    # The operator who redrives it has decided that the batch is wanted.
    wait_until(lambda: len(events) == 3, within=60, otherwise=story)
    publish(urls["allocation-relay"], EVENTS_EXCHANGE, "allocated", b"{", type_="allocated.v1")
    wait_until(lambda: depth(service, subscriber.parked) == 1, within=60, otherwise=story)
    as_replay = {**service.settings, **as_user(urls, "allocation-replay")}
    replayed = run_verb("replay", "--sku", "LAMP", "--from", "1", "--queue", QUEUE, settings=as_replay)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    wait_until(lambda: len(repeats) == 3, within=60, otherwise=story)
    [metrics] = (tmp_path / "metrics").glob("*.prom")
    wait_until(
        lambda: 'queue_messages{messaging_destination_name="allocation.dead-letters"' in metrics.read_text(),
        within=30,
        otherwise=story,
    )
    assert "gauges_unreadable" not in relay.log
    subscriber.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert gaps == []


def test_tail_and_the_read_model_work_with_their_own_users(
    service: RunningService, urls: Urls, redis_server: RedisServer
) -> None:
    events = tail_events(
        [urls["allocation-tail"]], ["#"], stopping=threading.Event(), on_listening=lambda: None, on_lost=lambda: None
    )
    assert next(events) is None  # it listens
    redis = {"ALLOCATION_REDIS_URL": redis_server.new_database()}
    project = service.start("project", settings={**as_user(urls, "allocation-project"), **redis})
    project.wait_for("ready")
    event = Allocated(orderid="o", sku="CHAIR", lineid="", qty=1, batchref="b", eta=None, sequence=1)
    publish(urls["allocation-relay"], EVENTS_EXCHANGE, "allocated", encode(event), type_="allocated.v1")
    publish(urls["allocation-relay"], EVENTS_EXCHANGE, "allocated", b"{", type_="allocated.v1", message_id="broken")
    seen = [next(each for each in events if each is not None) for _ in range(2)]
    events.close()
    assert [each.properties.message_id for each in seen] == ["m", "broken"]
    wait_until(lambda: service.count_dead_letters() == 1, within=60, otherwise=lambda: project.log[-5000:])
    wait_until(lambda: depth(service, READ_MODEL_QUEUE) == 0, within=60, otherwise=lambda: project.log[-5000:])


def test_a_subscriber_cannot_bring_a_command_in_by_any_way(service: RunningService, urls: Urls) -> None:
    body = encode(CreateBatch(batchref="mine", sku="LAMP", qty=1_000_000))
    for exchange, key in (
        ("", STOCK_QUEUE),
        ("", ORDERS_QUEUE),
        (COMMANDS_EXCHANGE, "create-batch"),
        ("allocation.retrying", STOCK_QUEUE),
        ("allocation.redriving", STOCK_QUEUE),
        ("allocation.replaying", STOCK_QUEUE),
        ("allocation.dead-letters", "create-batch"),
    ):
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            publish(urls["shipping"], exchange, key, body, type_="create-batch.v1")
    with pytest.raises(pika.exceptions.UnroutableError):
        publish(urls["shipping"], PARKING_EXCHANGE, STOCK_QUEUE, body, type_="create-batch.v1")
    ask(service.amqp_url, "queue_delete", QUEUE)  # an existing queue is not asked about
    for exchange in ("", COMMANDS_EXCHANGE, "allocation.redriving"):
        arguments = {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": STOCK_QUEUE}
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            ask(urls["shipping"], "queue_declare", QUEUE, arguments=arguments)
    for queue in (STOCK_QUEUE, ORDERS_QUEUE):
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            ask(urls["shipping"], "queue_bind", queue, PARKING_EXCHANGE, queue)
    assert depth(service, STOCK_QUEUE) == 0


def test_each_command_may_be_sent_by_one_kind_of_program(urls: Urls) -> None:
    until = datetime.now(UTC) + timedelta(minutes=1)
    commands: dict[str, list[Command]] = {
        "shop": [
            Allocate(orderid="o1", sku="VASE", qty=1),
            ChangeLineQuantity(orderid="o1", sku="VASE", qty=2),
            Hold(orderid="o2", sku="VASE", qty=1, until=until),
            Deallocate(orderid="o1", sku="VASE"),
        ],
        "purchasing": [
            CreateBatch(batchref="v", sku="VASE", qty=10),
            ChangeBatchQuantity(batchref="v", qty=9),
            ChangeBatchEta(batchref="v", eta=None),
        ],
        "dispatch": [Ship(orderid="o1", sku="VASE")],
    }
    assert sorted(each.TYPE for sent in commands.values() for each in sent) == sorted(COMMANDS)
    for user in commands:
        with Publisher(urls[user]) as publisher:
            for sender, sent in commands.items():
                for command in sent:
                    if sender == user:
                        publisher.publish(command)
                    else:
                        with pytest.raises(RefusedError, match="ACCESS_REFUSED"):
                            publisher.publish(command)


def smuggle(url: str, message_id: str, body: bytes) -> None:
    """Publish a batch under the routing key of orders."""
    publish(url, COMMANDS_EXCHANGE, "allocate", body, type_="create-batch.v1", message_id=message_id)


def publish(url: str, exchange: str, key: str, body: bytes, *, type_: str, message_id: str = "m") -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(
            message_id=message_id, type=type_, delivery_mode=2, headers={"causation_id": "c"}
        )
        channel.basic_publish(exchange, key, body, properties, mandatory=True)


def ask(url: str, method: str, *arguments: Any, **options: Any) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        getattr(connection.channel(), method)(*arguments, **options)


def depth(service: RunningService, queue: str) -> int:
    return service.servers.broker.queue_depths(service.amqp_url).get(queue, 0)
