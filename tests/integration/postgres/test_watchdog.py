"""Database calls whose answers are lost on the network."""

import gc
import os
import socket
import threading
from collections.abc import Iterator
from math import inf
from time import monotonic

import psycopg2
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres import engine as engine_module
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.inbox import INSERT
from allocation_worker.adapters.postgres.project import reading
from allocation_worker.adapters.postgres.watchdog import Watchdog, WatchedConnection, _is_alive
from allocation_worker.adapters.postgres.writer import MANY_ROWS, Writer
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.waiting import wait_until
from harness.proxy import ConnectionFault, Proxy
from tests.fakes.messages import message
from tests.integration.postgres.staging import DEADLINE, create, process
from tests.integration.postgres.store import PostgresStore

LIMIT = 0.3
# With its end: every transaction begins with READ COMMITTED.
COMMIT = b"COMMIT\0"


@pytest.fixture
def network(store: PostgresStore) -> Iterator[Proxy]:
    with Proxy(address(store.engine)) as network:
        yield network


@pytest.fixture
def far_store(network: Proxy) -> Iterator[PostgresStore]:
    """The same tables, at the other end of the network."""
    engine = create_engine(network.url, application_name="tests", statement_timeout=1)
    yield PostgresStore(engine)
    engine.dispose()


def address(engine: Engine) -> str:
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_commit_that_never_returns_is_unavailability_and_asking_again_tells_that_it_took_place(
    store: PostgresStore, far_store: PostgresStore, network: Proxy
) -> None:
    received = message(create("b", 10))
    network.trap(COMMIT, ConnectionFault.SILENCE)
    began = monotonic()
    with pytest.raises(StoreUnavailableError):
        process(far_store.unit_of_work, received)
    assert monotonic() - began < DEADLINE
    wait_until(
        lambda: store.taken(received.message_id) == {received.message_id},
        within=DEADLINE,
        otherwise=lambda: str(store.taken()),
    )
    assert process(far_store.unit_of_work, received) == [Done()]
    assert [event.type for event in store.published()] == ["batch-created.v1"]


def test_a_statement_that_never_returns_is_unavailability(far_store: PostgresStore, network: Proxy) -> None:
    with far_store.engine.connect() as connection:
        network.hold()
        with pytest.raises(StoreUnavailableError):
            connection.execute(sa.text("SELECT 1"))
    network.release()


def test_a_copy_that_never_returns_is_unavailability(far_store: PostgresStore, network: Proxy) -> None:
    with far_store.engine.connect() as connection:
        network.hold()
        with pytest.raises(StoreUnavailableError):
            Writer(connection).add(INSERT, [(f"{number:032x}", bytes(32)) for number in range(MANY_ROWS)])
    network.release()


def test_the_next_rows_of_a_long_answer_that_never_come_are_unavailability(
    far_store: PostgresStore, network: Proxy
) -> None:
    with far_store.engine.connect() as connection:
        rows = iter(connection.execution_options(yield_per=1).execute(sa.text("SELECT generate_series(1, 5)")))
        next(rows)
        network.hold()
        with pytest.raises(StoreUnavailableError):
            list(rows)
    network.release()


def test_a_look_at_the_past_may_take_longer_than_a_statement(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_PATIENCE", LIMIT)
    engine = create_engine(address(store.engine), application_name="tests", statement_timeout=1)
    with reading(engine) as connection:
        connection.execute(sa.text("SELECT pg_sleep(1.2)"))
    with engine.connect() as connection, pytest.raises(StoreUnavailableError):
        connection.execute(sa.text("SELECT pg_sleep(20)"))
    engine.dispose()


def test_a_rollback_that_never_returns_does_not_hang(far_store: PostgresStore, network: Proxy) -> None:
    connection = far_store.engine.connect()
    connection.execute(sa.text("SELECT 1"))
    network.hold()
    with pytest.raises(StoreUnavailableError):
        connection.rollback()
    network.release()


def test_a_connection_is_not_cut_for_being_idle_or_for_the_sum_of_its_calls(store: PostgresStore) -> None:
    watchdog = Watchdog(LIMIT)
    connection = watchdog.connect(address(store.engine))
    began = monotonic()
    while monotonic() < began + 2 * LIMIT:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.05)")
    threading.Event().wait(2 * LIMIT)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()


def test_a_long_call_to_a_server_that_gives_no_sign_of_life_is_cut(network: Proxy) -> None:
    watchdog = Watchdog(60, probe_after=LIMIT)
    connection = watchdog.connect(network.url)
    began = monotonic()
    with connection.cursor() as cursor:
        network.hold()
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT 1")
    network.release()
    assert connection.closed
    assert monotonic() - began < DEADLINE


def test_a_long_call_to_a_server_that_lives_is_not_cut(store: PostgresStore) -> None:
    watchdog = Watchdog(60, probe_after=LIMIT)
    connection = watchdog.connect(address(store.engine))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", (6 * LIMIT,))
        cursor.execute("SELECT 1")
    connection.close()


def test_a_server_that_refuses_the_probe_is_not_frozen() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert _is_alive((socket.AF_INET, nobody.getsockname()))


def test_only_the_connection_that_hangs_is_cut(store: PostgresStore) -> None:
    watchdog = Watchdog(LIMIT)
    one, other = watchdog.connect(address(store.engine)), watchdog.connect(address(store.engine))
    with other.cursor() as cursor:
        cursor.execute("SELECT 1")
        with one.cursor() as hanging, pytest.raises(psycopg2.OperationalError):
            hanging.execute("SELECT pg_sleep(20)")
        cursor.execute("SELECT 1")
    assert one.closed
    other.close()


def test_a_stranger_that_has_got_the_descriptor_of_a_closed_connection_is_left_alone(store: PostgresStore) -> None:
    watchdog = Watchdog(LIMIT)
    connection = watchdog.connect(address(store.engine))
    descriptor = connection.fileno()
    connection.close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if ours.fileno() != descriptor:
            os.dup2(ours.fileno(), descriptor)
        watchdog._deadlines[connection] = monotonic() - LIMIT
        watchdog.look()
        theirs.sendall(b"still here")
        assert os.read(descriptor, 100) == b"still here"
        if ours.fileno() != descriptor:
            os.close(descriptor)


def test_its_thread_ends_with_its_engine(store: PostgresStore) -> None:
    before = set(threading.enumerate())
    watchdog: Watchdog | None = Watchdog(LIMIT)
    assert watchdog is not None
    watchdog.connect(address(store.engine)).close()
    [thread] = [thread for thread in set(threading.enumerate()) - before if thread.name == "watchdog"]
    watchdog = None
    gc.collect()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_without_a_statement_timeout_nothing_is_cut(store: PostgresStore) -> None:
    """A migration takes as long as it takes."""
    engine = create_engine(address(store.engine), application_name="tests", statement_timeout=None)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW statement_timeout")) == "0"
        driver = connection.connection.driver_connection
        assert isinstance(driver, WatchedConnection)
        assert driver.limit == inf
    engine.dispose()
