from collections.abc import Iterator
from pathlib import Path

import pytest

from allocation_worker.testing.servers import Servers
from harness.client import ExternalClient
from harness.service import RunningService


@pytest.fixture(scope="module")
def service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One `consume` and one `relay`, shared by the tests of a module; each takes SKUs of its own."""
    with RunningService(servers, tmp_path_factory.mktemp("service")) as running:
        running.start("consume")
        running.start("relay")
        yield running


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[ExternalClient]:
    with service.client() as shop:
        yield shop


@pytest.fixture
def fresh_service(servers: Servers, tmp_path: Path) -> Iterator[RunningService]:
    """Migrated and declared, with nothing started yet."""
    with RunningService(servers, tmp_path) as running:
        yield running


@pytest.fixture
def given(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers that run already, for a pytest of its own."""
    monkeypatch.setenv("ALLOCATION_TEST_SERVERS", "given")
    monkeypatch.setenv("ALLOCATION_AMQP_URL", servers.broker.amqp_url)
    monkeypatch.setenv("ALLOCATION_MANAGEMENT_URL", servers.broker.management_url)
    monkeypatch.setenv("ALLOCATION_DATABASE_URL", servers.database.admin_url)
