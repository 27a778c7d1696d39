"""Fixtures shared by all kinds of tests."""

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

from allocation_worker.testing.servers import Servers, start_servers
from allocation_worker.testing.servers.programs import missing_programs, private_folder
from allocation_worker.testing.servers.redis_server import RedisServer, start_redis
from harness.pair import Pair, pair

pytest_plugins = ["pytester"]

# A busy machine is no bug of the program.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# What a script starts in the background ignores Ctrl-C, and so would the programs that the tests press it on.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A real broker and a real database, started once; take fresh places in them for each test."""
    with start_servers() as running:
        yield running


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis, started once; take a fresh database for each test."""
    with start_redis() as running:
        yield running


def pytest_collection_finish() -> None:
    """Keep the modules out of the collector's work, which is done after each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a socket or a file open, not the one during which the collector happens to run.

    `PYTHONTRACEMALLOC=20` shows where it was opened. Unit tests open none, and are many.
    """
    yield
    if "unit" not in request.path.relative_to(request.config.rootpath).parts:
        gc.collect()


@pytest.fixture
def database_pair() -> Iterator[Pair]:
    """A primary and a synchronous standby, for this test alone: it may do with them what it likes."""
    with _pair() as database:
        yield database


@pytest.fixture(scope="module")
def shared_pair() -> Iterator[Pair]:
    """A primary and a synchronous standby for all tests of a module. Each leaves them as it found them."""
    with _pair() as database:
        yield database


@contextmanager
def _pair() -> Iterator[Pair]:
    if missing := missing_programs():
        pytest.skip(f"only the installed programs can be a pair; missing: {', '.join(missing)}")
    with private_folder() as folder, pair(folder) as database:
        yield database
