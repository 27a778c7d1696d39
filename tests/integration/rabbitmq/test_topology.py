import re
import socket
from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import BasicProperties

from allocation_contracts.names import (
    COMMANDS_EXCHANGE,
    DEAD_LETTERS,
    EVENTS_EXCHANGE,
    ORDERS_QUEUE,
    STOCK_QUEUE,
)
from allocation_worker.adapters.rabbitmq import topology, topology_check
from allocation_worker.adapters.rabbitmq.errors import (
    BrokerError,
    RabbitMQError,
    TopologyMismatchError,
)
from allocation_worker.adapters.rabbitmq.layout import READ_MODEL_QUEUE
from allocation_worker.adapters.rabbitmq.management import Management
from allocation_worker.adapters.rabbitmq.retry_queues import old_retry_queue, retry_queue
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.testing.servers import Servers
from tests.integration.rabbitmq.rig import Place, Workers, eventually, headers_of, running


def wrong(place: Place, retry_delays: Sequence[int] = (1,)) -> list[tuple[str, str]]:
    findings = topology_check.check([place.url], retry_delays).findings
    return [(finding.kind, finding.sentence) for finding in findings]


def test_declaring_it_again_changes_nothing(place: Place) -> None:
    place.send("kept")
    topology.declare([place.url], retry_delays=[1])
    assert wrong(place) == []
    assert place.depth(ORDERS_QUEUE) == 1


def test_more_delays_may_be_added_later(place: Place) -> None:
    topology.declare([place.url], retry_delays=[1, 7])
    assert wrong(place, retry_delays=[1, 7]) == []


def test_each_command_goes_to_the_queue_of_its_kind(place: Place) -> None:
    for key in ("allocate", "deallocate", "create-batch", "change-batch-quantity"):
        place.send(key, key=key)
    assert [properties.message_id for properties, _ in place.take_all(ORDERS_QUEUE)] == ["allocate", "deallocate"]
    assert place.depth(STOCK_QUEUE) == 2


def test_a_command_that_no_queue_takes_lands_in_the_dead_letters(place: Place) -> None:
    place.send("lost?", key="misspelt", correlation_id="c", headers={"h": 1})
    ((properties, body),) = place.dead_letters()
    assert (properties.message_id, properties.correlation_id, headers_of(properties)) == ("lost?", "c", {"h": 1})
    assert body == b"body of lost?"


def test_a_queue_with_other_arguments_is_named_with_the_remedy(place: Place) -> None:
    place.channel.queue_delete(ORDERS_QUEUE)
    place.channel.queue_declare(ORDERS_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    told = r"The queue allocation\.orders .*inequivalent arg.*--replace allocation\.orders"
    with pytest.raises(TopologyMismatchError, match=told) as info:
        topology.declare([place.url], retry_delays=[1])
    assert isinstance(info.value, RabbitMQError)
    [(kind, sentence)] = wrong(place)
    assert kind == "other-arguments"
    assert sentence == str(info.value)


def test_an_exchange_of_another_kind_is_named_with_the_remedy(place: Place) -> None:
    place.channel.exchange_delete(EVENTS_EXCHANGE)
    place.channel.exchange_declare(EVENTS_EXCHANGE, "direct", durable=True)
    told = r"The exchange allocation\.events .*type.*delete exchange"
    with pytest.raises(TopologyMismatchError, match=told):
        topology.declare([place.url], retry_delays=[1])
    [(kind, sentence)] = wrong(place)
    assert kind == "other-arguments"
    assert re.search(told, sentence)


def test_the_queue_of_the_read_model_is_looked_at_if_it_exists(place: Place) -> None:
    place.channel.queue_declare(READ_MODEL_QUEUE, durable=True)
    [(kind, sentence)] = wrong(place)
    assert kind == "other-arguments"
    assert "--replace allocation.read-model" in sentence


def test_others_may_declare_the_events_exchange_without_arguments(place: Place) -> None:
    place.channel.exchange_declare(EVENTS_EXCHANGE, "topic", durable=True)


@pytest.mark.parametrize("missing", [ORDERS_QUEUE, DEAD_LETTERS, retry_queue(STOCK_QUEUE, 1)])
def test_what_is_missing_is_named_with_what_to_run(place: Place, missing: str) -> None:
    place.channel.queue_delete(missing)
    [(kind, sentence)] = wrong(place)
    assert kind == "missing"
    assert sentence == f"The queue {missing} does not exist on the broker; run `allocation-worker topology`."
    with pytest.raises(ChannelClosedByBroker, match="NOT_FOUND"):  # and is left so
        place.depth(missing)


def test_all_that_is_wrong_is_told_at_once(place: Place) -> None:
    place.channel.exchange_delete(COMMANDS_EXCHANGE)
    place.channel.queue_delete(STOCK_QUEUE)
    place.channel.queue_delete(ORDERS_QUEUE)
    place.channel.queue_declare(ORDERS_QUEUE, durable=True)
    assert [(kind, sentence.split()[2]) for kind, sentence in wrong(place)] == [
        ("missing", COMMANDS_EXCHANGE),
        ("other-arguments", ORDERS_QUEUE),
        ("missing", STOCK_QUEUE),
    ]


def test_without_the_management_api_it_is_said_what_is_not_seen(place: Place) -> None:
    place.channel.queue_unbind(ORDERS_QUEUE, COMMANDS_EXCHANGE, "allocate")
    report = topology_check.check([place.url], retry_delays=[1])
    assert report.findings == []
    assert report.unseen == [topology_check.NOT_SEEN_BY_AMQP]


def test_by_the_management_api_a_missing_binding_is_found(place: Place, management: Management) -> None:
    report = topology_check.check([place.url], [1], management)
    assert (report.findings, report.unseen) == ([], [])
    place.channel.queue_unbind(ORDERS_QUEUE, COMMANDS_EXCHANGE, "allocate")
    [finding] = topology_check.check([place.url], [1], management).findings
    assert finding.kind == "binding-missing"
    assert finding.sentence == (
        "The queue allocation.orders is not bound to the exchange allocation.commands with the key 'allocate'; run "
        "`allocation-worker topology`."
    )


def test_a_user_that_may_not_declare_is_told_what_it_does_not_see(servers: Servers, place: Place) -> None:
    if servers.how != "programs":
        pytest.skip("only a broker that is ours gets other users")
    vhost = urlsplit(place.url).path[1:]
    servers.broker.ctl("add_user", "reader", "secret")
    servers.broker.ctl("set_permissions", "-p", vhost, "reader", "^$", "^$", "^$")
    report = topology_check.check([re.sub(r"//[^@]*@", "//reader:secret@", place.url)], retry_delays=[1])
    servers.broker.ctl("delete_user", "reader")
    assert report.findings == []
    assert len(report.unseen) == 12 + 1
    assert "The arguments of allocation.orders cannot be seen: this user may not declare it" in report.unseen[8]


def test_the_next_broker_is_asked_when_one_does_not_answer(place: Place) -> None:
    assert topology_check.check(["amqp://nobody:here@127.0.0.1:1/", place.url], retry_delays=[1]).findings == []


def test_no_broker_at_all_is_said_without_the_password() -> None:
    with pytest.raises(BrokerError, match=r"amqp://user:\*\*\*@127\.0\.0\.1:1/v") as info:
        topology_check.check(["amqp://user:secret@127.0.0.1:1/v"], retry_delays=[1])
    assert "secret" not in str(info.value)


def test_no_permission_is_a_broker_error(servers: Servers) -> None:
    url = urlsplit(servers.amqp_url)
    wrong = f"amqp://{url.username}:hush@{url.hostname}:{url.port}/%2F"
    with pytest.raises(BrokerError, match="it refuses the login") as info:
        topology.declare([wrong], retry_delays=[1])
    assert "hush" not in str(info.value)


def test_a_dead_letter_may_be_put_back_any_number_of_times(place: Place) -> None:
    place.send("looked at", key="misspelt")
    eventually(lambda: place.depth(DEAD_LETTERS) == 1)
    for _ in range(25):
        with pika.BlockingConnection(pika.URLParameters(place.url)) as connection:
            channel = connection.channel()
            eventually(partial(_got, channel))
    assert len(place.dead_letters()) == 1


def _got(channel: BlockingChannel) -> bool:
    return channel.basic_get(DEAD_LETTERS)[0] is not None


def test_a_broker_that_is_frozen_is_out_of_reach_in_a_sentence() -> None:
    """Seen in chaos: a node that was stopped took the connection, and `project` ended with pika's own error."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        url = f"amqp://guest:secret@127.0.0.1:{frozen.getsockname()[1]}/?stack_timeout=0.5"
        with pytest.raises(BrokerError, match=r"guest:\*\*\*@.*: it took the connection, and did not answer"):
            topology_check.check([url], retry_delays=[1])


def declare_old_retry_queue(place: Place, name: str) -> None:
    """As version 0.1.0 did."""
    arguments = {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
        "x-delivery-limit": 20,
        "x-message-ttl": 1000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": ORDERS_QUEUE,
    }
    place.channel.queue_declare(name, durable=True, arguments=arguments)


def test_what_waits_in_a_retry_queue_of_version_0_1_0_goes_back_with_its_attempts(place: Place) -> None:
    old = old_retry_queue(ORDERS_QUEUE, 1)
    declare_old_retry_queue(place, old)
    properties = BasicProperties(message_id="on its way", delivery_mode=2, headers={"x-attempts": 2})
    place.channel.basic_publish("", old, b"{}", properties)
    topology.declare([place.url], retry_delays=[1])
    workers = Workers([place.url], [ORDERS_QUEUE], lambda _: Done())
    with running(workers):
        eventually(lambda: len(workers.ids) == 1)
    [delivery] = workers.deliveries
    assert (delivery.properties.message_id, delivery.retried, delivery.attempts) == ("on its way", True, 2)


def test_the_retry_queues_of_version_0_1_0_are_named_as_outdated(place: Place) -> None:
    assert topology.outdated_queues([place.url], retry_delays=[1, 5]) == {}
    old = old_retry_queue(STOCK_QUEUE, 5)
    declare_old_retry_queue(place, old)
    assert topology.outdated_queues([place.url], retry_delays=[1, 5]) == {old: 0}
