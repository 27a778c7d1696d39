"""These tests need a Docker engine and the images; docker/offline/ has scripts for both."""

from collections.abc import Iterator

import pytest

from allocation_worker.testing.servers import Servers, start_servers


@pytest.fixture(scope="session")
def container_servers() -> Iterator[Servers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALLOCATION_TEST_SERVERS", "containers")
        with start_servers() as running:
            yield running
