"""These tests need a Docker engine and the images; docker/offline/ has scripts for both."""

from collections.abc import Iterator

import pytest

from allocation_worker.testing.servers import Servers, start_servers
from tests.containers.stack import Stack, build_worker_image, running_stack


@pytest.fixture(scope="session")
def container_servers() -> Iterator[Servers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALLOCATION_TEST_SERVERS", "containers")
        with start_servers() as running:
            yield running


@pytest.fixture(scope="session")
def worker_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_worker_image(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="session")
def stack(worker_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(worker_image, tmp_path_factory.mktemp("secrets")) as running:
        yield running
