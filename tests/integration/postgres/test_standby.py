"""Commits that wait for an unreachable standby, and a server that is demoted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.prune import History
from allocation_worker.adapters.postgres.relay import PendingEvents
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.servers.local import LocalDatabase
from allocation_worker.testing.servers.programs import private_folder
from tests.fakes.messages import message
from tests.integration.postgres.staging import DEADLINE, backend_of, create, process, until
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


def wait_for_each_commit(store: PostgresStore) -> None:
    """Have commits of this store wait at all, which they do not in other tests; then for a standby that is away."""
    store.execute(f'ALTER DATABASE "{store.engine.url.database}" RESET synchronous_commit')
    store.engine.dispose()
    wait_for_standby(store, "away")


def cancel_the_wait(store: PostgresStore) -> None:
    """Cancel the one commit that waits for the standby."""
    until(lambda: bool(store.rows(WAITING)))
    [waiting] = store.rows(WAITING)
    store.rows("SELECT pg_cancel_backend(:pid)", pid=waiting[0])


def set_read_only(store: PostgresStore, *, value: str) -> None:
    """Demote or promote the server, as far as its sessions can tell."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"ALTER SYSTEM SET default_transaction_read_only = {value}"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    until(lambda: bool(store.rows("SELECT WHERE current_setting('transaction_read_only') = :value", value=value)))


def test_a_commit_whose_wait_is_cancelled_is_unavailability_and_asking_again_waits(alone: PostgresStore) -> None:
    received = message(create("b", 10))
    wait_for_each_commit(alone)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(process, alone.unit_of_work, received)
        cancel_the_wait(alone)
        with pytest.raises(StoreUnavailableError, match="cancel"):
            first.result(DEADLINE)
        again = threads.submit(process, alone.unit_of_work, received)
        until(lambda: bool(alone.rows(WAITING)))
        assert not again.done()
        wait_for_standby(alone, "")
        assert again.result(DEADLINE) == [Done()]
    assert [event.type for event in alone.published()] == ["batch-created.v1"]


def test_no_setting_hides_that_the_wait_was_cancelled(alone: PostgresStore) -> None:
    alone.execute(f'ALTER DATABASE "{alone.engine.url.database}" SET client_min_messages = error')
    wait_for_each_commit(alone)
    with ThreadPoolExecutor() as threads:
        commit = threads.submit(process, alone.unit_of_work, message(create("b", 10)))
        cancel_the_wait(alone)
        with pytest.raises(StoreUnavailableError):
            commit.result(DEADLINE)
        wait_for_standby(alone, "")


def test_pruning_whose_wait_is_cancelled_is_unavailability(alone: PostgresStore) -> None:
    process(alone.unit_of_work, message(create("b", 10)))
    wait_for_each_commit(alone)
    with ThreadPoolExecutor() as threads:
        pruned = threads.submit(History(alone.engine, history_days=0, inbox_days=0).prune_some)
        cancel_the_wait(alone)
        with pytest.raises(StoreUnavailableError):
            pruned.result(DEADLINE)
        wait_for_standby(alone, "")


def test_a_notice_of_a_statement_does_not_make_a_commit_unknown(store: PostgresStore) -> None:
    with store.engine.begin() as connection:
        connection.execute(sa.text("DO $$ BEGIN RAISE WARNING 'of no concern'; END $$"))


def test_a_unit_of_work_leaves_a_server_that_is_demoted(alone: PostgresStore) -> None:
    engine = create_engine(
        alone.engine.url.render_as_string(hide_password=False), application_name="tests", pool_size=1
    )
    worker = PostgresStore(engine)
    received = message(create("b", 10))
    with engine.connect() as connection:
        before = backend_of(connection)
    set_read_only(alone, value="on")
    with pytest.raises(StoreUnavailableError, match="read-only"):
        process(worker.unit_of_work, received)
    with engine.connect() as connection:
        assert backend_of(connection) != before
    set_read_only(alone, value="off")
    assert process(worker.unit_of_work, received) == [Done()]
    engine.dispose()


def test_an_event_that_no_standby_has_is_not_published(alone: PostgresStore) -> None:
    written = alone.write_pages(["allocated.v1"])
    wait_for_standby(alone, "away")
    with ThreadPoolExecutor() as threads, alone.open_pending() as session:
        assert session.acquire()
        fetched = threads.submit(session.fetch, 10, [])
        until(lambda: bool(alone.rows(WAITING)))
        assert not fetched.done()
        wait_for_standby(alone, "")
        assert [event.id for event in fetched.result(20)] == written


def test_a_wait_for_the_standby_that_is_cancelled_is_unavailability(alone: PostgresStore) -> None:
    alone.write_pages(["allocated.v1"])
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
