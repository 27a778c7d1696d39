"""What the relay may publish where commits wait for a standby, and the standby is away."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from allocation_worker.adapters.postgres.relay import PendingEvents
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.servers.local import LocalDatabase
from allocation_worker.testing.servers.programs import private_folder
from tests.integration.postgres.staging import until
from tests.integration.postgres.store import PostgresStore, migrated_engine

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
def alone() -> Iterator[PostgresStore]:
    """A store on a server of its own."""
    with private_folder() as folder:
        server = LocalDatabase(folder)
        server.start()
        engine = migrated_engine(server.new_database())
        yield PostgresStore(engine)
        engine.dispose()
        server.stop("immediate")


def wait_for_standby(store: PostgresStore, name: str) -> None:
    """Have commits wait for a standby of that name, which there is not; for none if the name is empty."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    until(lambda: bool(store.rows("SELECT WHERE current_setting('synchronous_standby_names') = :name", name=name)))


def test_an_event_that_no_standby_has_is_not_published(alone: PostgresStore) -> None:
    written = alone.write_events("allocated.v1")
    wait_for_standby(alone, "away")
    with ThreadPoolExecutor() as threads, alone.open_pending() as session:
        assert session.acquire()
        fetched = threads.submit(session.fetch, 10, [])
        until(lambda: bool(alone.rows(WAITING)))
        assert not fetched.done()
        wait_for_standby(alone, "")
        assert [event.id for event in fetched.result(20)] == written


def test_a_wait_for_the_standby_that_is_cancelled_is_unavailability(alone: PostgresStore) -> None:
    alone.write_events("allocated.v1")
    wait_for_standby(alone, "away")
    with ThreadPoolExecutor() as threads, alone.open_pending() as session:
        assert session.acquire()
        fetched = threads.submit(session.fetch, 10, [])
        until(lambda: bool(alone.rows(WAITING)))
        alone.rows("SELECT pg_cancel_backend(:pid)", pid=alone.rows(WAITING)[0][0])
        with pytest.raises(StoreUnavailableError, match="cancel"):
            fetched.result(20)
        wait_for_standby(alone, "")


def test_the_wait_needs_no_privilege(store: PostgresStore) -> None:
    with store.engine.begin() as connection:
        connection.execute(sa.text("CREATE ROLE plain_reader"))
        connection.execute(sa.text("SET LOCAL ROLE plain_reader"))
        connection.execute(sa.text("SELECT pg_logical_emit_message(true, 'allocation', '')"))
        connection.rollback()


def test_a_session_leaves_a_server_that_is_demoted(store: PostgresStore) -> None:
    now = [0.0]
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        session = PendingEvents(connection, lease=30.0, clock=lambda: now[0])
        assert session.acquire()
        session.wait(0, wake_fd=0)
        connection.execute(sa.text("SET default_transaction_read_only = on"))
        session.wait(0, wake_fd=0)
        now[0] += 10
        with pytest.raises(StoreUnavailableError, match="read-only"):
            session.wait(0, wake_fd=0)
        with pytest.raises(StoreUnavailableError, match="read-only"):
            session.acquire()
        connection.invalidate()
