from collections.abc import Iterator
from pathlib import Path

import pytest

from allocation_worker.testing.outside import Outside
from allocation_worker.testing.running import RunningService
from allocation_worker.testing.servers import Servers


@pytest.fixture(scope="module")
def service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One `consume` and one `relay`, shared by the tests of a module; each takes SKUs of its own."""
    with RunningService(servers, tmp_path_factory.mktemp("service")) as running:
        running.start("consume")
        running.start("relay")
        yield running


@pytest.fixture(scope="module")
def outside(service: RunningService) -> Iterator[Outside]:
    with service.outside() as shop:
        yield shop


@pytest.fixture
def fresh_service(servers: Servers, tmp_path: Path) -> Iterator[RunningService]:
    """Migrated and declared, with nothing started yet."""
    with RunningService(servers, tmp_path) as running:
        yield running
