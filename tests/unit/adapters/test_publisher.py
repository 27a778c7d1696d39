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
