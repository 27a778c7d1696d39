"""The order of events over lost connections."""

import pytest

from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.publisher import RabbitMQEventPublisher
from allocation_worker.service_layer.outgoing import MessageResult
from tests.fakes.network import Network
from tests.fakes.relay import outgoing


@pytest.fixture
def publisher() -> RabbitMQEventPublisher:
    return RabbitMQEventPublisher([], wake=lambda: None, link=Network)


@pytest.fixture
def network(publisher: RabbitMQEventPublisher) -> Network:
    network = publisher._link
    assert isinstance(network, Network)
    network.connect()
    return network


def nacked(*ids: int) -> list[MessageResult]:
    return [MessageResult(id_, PublishResult.NACKED) for id_ in ids]


def lost(*ids: int) -> list[MessageResult]:
    return [MessageResult(id_, PublishResult.LOST) for id_ in ids]


def test_what_is_published_after_a_loss_was_told_of_goes_out(
    publisher: RabbitMQEventPublisher, network: Network
) -> None:
    publisher.publish([outgoing(1)])
    network.run_calls()
    network.lose()
    network.connect()
    assert publisher.take_results() == lost(1)
    publisher.publish([outgoing(1), outgoing(2)])
    network.run_calls()
    assert network.published == ["event-1", "event-1", "event-2"]


def test_what_is_published_before_a_loss_was_told_of_is_lost_too(
    publisher: RabbitMQEventPublisher, network: Network
) -> None:
    publisher.publish([outgoing(1)])
    network.run_calls()
    network.lose()
    network.connect()
    publisher.publish([outgoing(2)])
    network.run_calls()
    assert publisher.take_results() == lost(1, 2)
    assert network.published == ["event-1"]


def test_nothing_goes_before_what_was_refused_for_a_loss_that_has_been_told_of_meanwhile(
    publisher: RabbitMQEventPublisher, network: Network
) -> None:
    """Of 1 it is told before 2 is refused, so whoever publishes 3 does not know of 2."""
    publisher.publish([outgoing(1)])
    network.run_calls()
    network.lose()
    network.connect()
    publisher.publish([outgoing(2)])
    assert publisher.take_results() == lost(1)
    network.run_calls()
    publisher.publish([outgoing(3)])
    network.run_calls()
    assert network.published == ["event-1"]
    assert publisher.take_results() == lost(2, 3)
    publisher.publish([outgoing(1), outgoing(2), outgoing(3)])
    network.run_calls()
    assert network.published == ["event-1", "event-1", "event-2", "event-3"]


REFUSED = "ACCESS_REFUSED - access to exchange 'allocation.events' in vhost '/' refused for user 'relay'"


def refuse(publisher: RabbitMQEventPublisher, network: Network, *numbers: int) -> list[MessageResult]:
    """Publish these events, and close the channel over them."""
    publisher.publish([outgoing(number) for number in numbers])
    network.run_calls()
    network.close_channel(403, REFUSED)
    return publisher.take_results()


def test_what_the_broker_closes_the_channel_over_is_refused_and_not_lost(
    publisher: RabbitMQEventPublisher, network: Network
) -> None:
    """Healthy queues may have got some of it, so it is not to be published again at once."""
    assert refuse(publisher, network, 1, 2) == nacked(1, 2)
    assert publisher.refusal == REFUSED


def test_a_refusal_ends_with_the_first_confirm(publisher: RabbitMQEventPublisher, network: Network) -> None:
    refuse(publisher, network, 1)
    network.lose()
    network.connect()
    assert publisher.refusal == REFUSED
    publisher.publish([outgoing(1)])
    network.confirm_all()
    assert publisher.refusal is None


def test_a_connection_is_of_use_only_once_something_is_answered_on_it(
    publisher: RabbitMQEventPublisher, network: Network
) -> None:
    """Or a broker that refuses every event would be connected to several times a second."""
    refuse(publisher, network, 1)
    network.lose()
    network.connect()
    assert network.healthy == 0
    publisher.publish([outgoing(1), outgoing(2)])
    network.confirm_all()
    assert network.healthy == 1


def test_what_gets_no_confirm_is_lost_and_a_confirm_is_waited_for_longer_on_the_next_connection(
    publisher: RabbitMQEventPublisher, network: Network
) -> None:
    for _ in range(2):
        publisher.publish([outgoing(1)])
        network.run_calls()
        network.later.pop()()
        network.close_ok()
        assert publisher.take_results() == lost(1)
        network.connect()
    assert network.reconnects == 2
    assert network.delays == [30, 60]
