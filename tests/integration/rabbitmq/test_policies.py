"""Policies of the house, which can make messages vanish, and ours, which ends that."""

from collections.abc import Iterator

import pytest
from pika.spec import BasicProperties

from allocation_contracts.names import DEAD_LETTERS, ORDERS_QUEUE, STOCK_QUEUE
from allocation_worker.adapters.rabbitmq import topology_check
from allocation_worker.adapters.rabbitmq.layout import own_queues
from allocation_worker.adapters.rabbitmq.management import Management, request
from allocation_worker.adapters.rabbitmq.policies import OWN_POLICY, Policy, own_policy
from allocation_worker.testing.servers import Servers
from tests.integration.rabbitmq.rig import Place, eventually

QUEUES = own_queues([1])
HOUSE = Policy(name="house", pattern=".*", definition={"message-ttl": 300}, priority=5, apply_to="all")


@pytest.fixture
def house(place: Place, management: Management) -> Iterator[str]:
    """A queue that is not ours, under a policy of the house by which messages vanish after 0.3 s."""
    management.set_policy(HOUSE)
    place.channel.queue_declare("of-the-house", durable=True, arguments={"x-queue-type": "quorum"})
    yield "of-the-house"
    place.channel.queue_delete("of-the-house")


def kinds(place: Place, management: Management) -> list[str]:
    return [finding.kind for finding in topology_check.check([place.url], [1], management).findings]


def wait_until_one_has_expired(place: Place, queue: str) -> None:
    """As long as it takes a message of this queue to vanish, which was published after all others."""
    place.channel.basic_publish("", queue, b"{}", BasicProperties(delivery_mode=2), mandatory=True)
    eventually(lambda: place.depth(queue) == 0)


def test_a_policy_of_the_house_makes_a_confirmed_command_vanish_and_is_found(
    place: Place, management: Management, house: str
) -> None:
    place.send("confirmed")
    wait_until_one_has_expired(place, house)
    eventually(lambda: place.depth(ORDERS_QUEUE) == 0)
    eventually(lambda: place.depth(DEAD_LETTERS) == 0)  # it was dead-lettered, and vanished there
    [finding] = topology_check.check([place.url], [1], management).findings
    assert finding.kind == "house-policy"
    assert finding.sentence == (
        "The policy house sets message-ttl 300 for allocation.dead-letters and 4 more: messages that wait for longer "
        "than that vanish, or are dead-lettered; run `allocation-worker topology`, which sets a policy of a higher "
        "priority or says how to."
    )


def test_under_our_policy_it_stays(place: Place, management: Management, house: str) -> None:
    management.set_policy(own_policy(management.policies(), QUEUES))
    assert kinds(place, management) == []
    place.send("confirmed", "confirmed too")
    place.send("nowhere to go", key="misspelt")
    wait_until_one_has_expired(place, house)
    assert [properties.message_id for properties, _ in place.take_all(ORDERS_QUEUE)] == ["confirmed", "confirmed too"]
    assert place.depth(DEAD_LETTERS) == 1


def test_our_policy_has_a_higher_priority_than_any_other(place: Place, management: Management) -> None:
    rival = Policy(name="r", pattern="^allocation", definition={"expires": 10**7}, priority=2000, apply_to="queues")
    management.set_policy(rival)
    management.set_policy(OWN_POLICY)
    assert kinds(place, management) == ["house-policy"]
    management.set_policy(own_policy(management.policies(), QUEUES))
    assert kinds(place, management) == []


def test_an_operator_policy_is_told_since_ours_cannot_end_it(
    servers: Servers, place: Place, management: Management
) -> None:
    management.set_policy(own_policy(management.policies(), QUEUES))
    vhost = place.url.rpartition("/")[2]
    body = {"pattern": "stock$", "definition": {"message-ttl": 86_400_000}, "priority": 0, "apply-to": "queues"}
    request(servers.broker.management_url, "PUT", f"operator-policies/{vhost}/ops", body)
    [finding] = topology_check.check([place.url], [1], management).findings
    assert finding.sentence.startswith(f"The operator policy ops sets message-ttl 86400000 for {STOCK_QUEUE}: ")
    assert "only an administrator can except these queues from it." in finding.sentence
