from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.testing.servers import Broker, ManagementError, NotOursError, Servers
from tests.integration.rabbitmq.rig import Place, eventually


@pytest.fixture
def place(servers: Servers) -> Iterator[Place]:
    """A fresh virtual host with the topology, and one retry queue each, of 1 s."""
    url = servers.broker.new_vhost()
    topology.declare([url], retry_delays=[1])
    place = Place(url)
    yield place
    place.close()


@pytest.fixture
def close_connections(servers: Servers, place: Place) -> Callable[[], None]:
    """Have the broker close the worker's connections to the place."""
    vhost = place.url.rpartition("/")[2]

    def close() -> None:
        place.close()  # pika leaves sockets open when the broker is first
        try:
            servers.broker.ctl("close_all_connections", "--vhost", vhost, "a test does it")
        except NotOursError:
            _close_through_management(servers.broker, vhost)
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


def _close_through_management(broker: Broker, vhost: str) -> None:
    connections: list[dict[str, Any]] = []

    def list_them() -> bool:
        connections[:] = broker._api("GET", f"vhosts/{vhost}/connections")
        return any("connection_name" in each.get("client_properties", {}) for each in connections)

    eventually(list_them)  # one that has just opened is not listed yet
    for each in connections:
        with suppress(ManagementError):  # it is gone already
            broker._api("DELETE", f"connections/{quote(each['name'])}")
