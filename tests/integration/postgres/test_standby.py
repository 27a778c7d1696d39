"""Commits that wait for an unreachable standby, and a server that is demoted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.migrate import migrate
from allocation_worker.adapters.postgres.prune import pruned_tables
from allocation_worker.adapters.postgres.relay import PendingEvents
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports import StoreUnavailableError
from harness.pair import Pair
from tests.fakes.messages import message
from tests.integration.postgres.staging import DEADLINE, create, process
from tests.integration.postgres.store import PostgresStore

APPLICATION = "tests"


@pytest.fixture
def store_on_pair(database_pair: Pair) -> Iterator[PostgresStore]:
    """A store whose commits wait for a standby."""
    engine = create_engine(database_pair.new_database(), application_name=APPLICATION)
    migrate(engine)
    yield PostgresStore(engine)
    engine.dispose()


def test_a_commit_whose_wait_is_cancelled_is_unavailability_and_asking_again_waits(
    store_on_pair: PostgresStore, database_pair: Pair
) -> None:
    received = message(create("b", 10))
    with ThreadPoolExecutor() as threads:
        with database_pair.standby_away():
            first = threads.submit(process, store_on_pair.unit_of_work, received)
            database_pair.cancel_commit(APPLICATION)
            with pytest.raises(StoreUnavailableError, match="cancel"):
                first.result(DEADLINE)
            again = threads.submit(process, store_on_pair.unit_of_work, received)
            database_pair.wait_for_commit(APPLICATION)
            assert not again.done()
        assert again.result(DEADLINE) == [Done()]
    assert [event.type for event in store_on_pair.published()] == ["batch-created.v1"]


def test_no_setting_hides_that_the_wait_was_cancelled(store_on_pair: PostgresStore, database_pair: Pair) -> None:
    store_on_pair.execute(f'ALTER DATABASE "{store_on_pair.engine.url.database}" SET client_min_messages = error')
    store_on_pair.engine.dispose()
    with ThreadPoolExecutor() as threads, database_pair.standby_away():
        commit = threads.submit(process, store_on_pair.unit_of_work, message(create("b", 10)))
        database_pair.cancel_commit(APPLICATION)
        with pytest.raises(StoreUnavailableError):
            commit.result(DEADLINE)


def test_pruning_whose_wait_is_cancelled_is_unavailability(store_on_pair: PostgresStore, database_pair: Pair) -> None:
    process(store_on_pair.unit_of_work, message(create("b", 10)))
    with ThreadPoolExecutor() as threads, database_pair.standby_away():
        inbox, *_ = pruned_tables(store_on_pair.engine, history_days=0, inbox_days=0)
        pruned = threads.submit(inbox.step, datetime.now(UTC) + timedelta(hours=1))
        database_pair.cancel_commit(APPLICATION)
        with pytest.raises(StoreUnavailableError):
            pruned.result(DEADLINE)


def test_a_notice_of_a_statement_does_not_make_a_commit_unknown(store: PostgresStore) -> None:
    with store.engine.begin() as connection:
        connection.execute(sa.text("DO $$ BEGIN RAISE WARNING 'of no concern'; END $$"))


def test_a_unit_of_work_leaves_a_server_that_is_demoted(store_on_pair: PostgresStore, database_pair: Pair) -> None:
    received = message(create("b", 10))
    process(store_on_pair.unit_of_work, received)
    database_pair.switch_over()
    database_pair.decide_alone()
    with pytest.raises(StoreUnavailableError, match="read-only"):
        process(store_on_pair.unit_of_work, received)
    assert process(store_on_pair.unit_of_work, received) == [Done()]


def test_an_event_that_no_standby_has_is_not_published(store_on_pair: PostgresStore, database_pair: Pair) -> None:
    written = store_on_pair.write_pages(["allocated.v1"])
    with ThreadPoolExecutor() as threads, store_on_pair.open_pending() as session:
        with database_pair.standby_away():
            assert session.acquire()
            fetched = threads.submit(session.fetch, 10, [])
            database_pair.wait_for_commit(APPLICATION)
            assert not fetched.done()
        assert [event.id for event in fetched.result(DEADLINE)] == written


def test_a_wait_for_the_standby_that_is_cancelled_is_unavailability(
    store_on_pair: PostgresStore, database_pair: Pair
) -> None:
    store_on_pair.write_pages(["allocated.v1"])
    with ThreadPoolExecutor() as threads, database_pair.standby_away(), store_on_pair.open_pending() as session:
        assert session.acquire()
        fetched = threads.submit(session.fetch, 10, [])
        database_pair.cancel_commit(APPLICATION)
        with pytest.raises(StoreUnavailableError, match="cancel"):
            fetched.result(DEADLINE)


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
