from collections.abc import Callable, Iterator
from functools import partial

import pytest

from allocation_contracts.amqp.urls import parse
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.management import Management
from allocation_worker.testing.servers import Servers
from tests.integration.rabbitmq.rig import Place


@pytest.fixture
def place(servers: Servers) -> Iterator[Place]:
    """A fresh virtual host with the topology, and one retry queue each, of 1 s."""
    url = servers.broker.new_vhost()
    topology.declare([url], retry_delays=[1])
    place = Place(url)
    yield place
    place.close()


@pytest.fixture
def management(servers: Servers, place: Place) -> Management:
    """The management API, for the virtual host of the place."""
    return Management(lambda: servers.broker.management_url, parse(place.url).virtual_host)


@pytest.fixture
def close_connections(servers: Servers, place: Place) -> Callable[[], None]:
    """Have the broker close the worker's connections to the place."""

    def close() -> None:
        place.close()  # pika leaves sockets open when the broker is first
        servers.broker.close_connections(place.url)
        place.reconnect()

    return close


@pytest.fixture
def alarm(servers: Servers) -> Iterator[Callable[[], object]]:
    """Has the broker lift its memory alarm, which it raises now: it reads nothing from those that publish."""
    if servers.how != "programs":
        pytest.skip("only a broker that is ours can be made to run out of memory")
    servers.broker.ctl("set_vm_memory_high_watermark", "0")
    lift = partial(servers.broker.ctl, "set_vm_memory_high_watermark", "0.6")
    yield lift
    lift()
