from collections.abc import Iterator

import pytest

from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.local import LocalBroker
from allocation_worker.testing.servers.programs import private_folder
from allocation_worker.testing.servers.redis_server import local_redis
from harness.patroni import PatroniCluster, patroni_cluster
from tests.ha.shop import Shop


@pytest.fixture(scope="module")
def patroni() -> Iterator[PatroniCluster]:
    """Three nodes in quorum mode, shared by the tests of a module. Each test leaves it healthy."""
    with private_folder() as folder, patroni_cluster(folder) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shop(patroni: PatroniCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The service and its customers, shared by the tests of a module."""
    with private_folder() as folder, local_redis() as redis:
        broker = LocalBroker(folder)
        try:
            broker.start()
            servers = Servers(
                amqp_url=broker.amqp_url,
                database_url=patroni.admin_url,
                how="programs",
                broker=broker,
                database=patroni,
            )
            with Shop(servers, redis.new_database(), tmp_path_factory.mktemp("shop")) as running:
                yield running
        finally:
            broker.kill()
