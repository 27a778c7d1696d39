from time import monotonic

import pytest

from allocation_contracts import Allocate
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.testing.servers import Servers
from harness.command_publisher import CommandPublisher


@pytest.fixture
def bare_url(servers: Servers) -> str:
    """A place without exchanges: whatever is published there is lost."""
    return servers.broker.new_vhost()


def test_what_was_not_confirmed_in_time_is_still_published_later(servers: Servers, bare_url: str) -> None:
    publisher = CommandPublisher([bare_url])
    try:
        publisher.publish(Allocate(orderid="o", sku="S", qty=1), message_id="m")
        until = monotonic() + 1
        while monotonic() < until:
            with pytest.raises(BrokerError, match="1 commands were not confirmed within 0 s"):
                publisher.wait_confirmed(within=0)
        topology.declare([bare_url], retry_delays=[1])
        publisher.wait_confirmed(within=20)
    finally:
        publisher.close()
    assert publisher.confirmed == {"m"}
    assert servers.broker.queue_depths(bare_url)["allocation.orders"] == 1
