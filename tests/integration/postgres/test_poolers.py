"""Connection poolers: session pooling is used, and what shares sessions between clients is refused."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from math import inf
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from psycopg2.extensions import cursor
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.session import SessionSettings
from allocation_worker.adapters.postgres.watchdog import WatchedConnection
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.servers import Servers
from harness.pgbouncer import PgBouncer, pgbouncer
from tests.fakes.messages import message
from tests.integration.postgres.staging import backend_of, create, process
from tests.integration.postgres.store import PostgresStore

REFUSED = (
    r"^The connection pooler in front of the database does not keep one session for each client \({}.*\); set its "
    r"pool_mode to session for this database, or have ALLOCATION_DATABASE_URL name the database server itself\.$"
)
TRANSACTION_POOLING = REFUSED.format("it gives each transaction another one, as with pool_mode = transaction")


@pytest.fixture(scope="module")
def pooler(servers: Servers) -> Iterator[PgBouncer]:
    with pgbouncer(servers.database.admin_url, pool_mode="session") as pooler:
        yield pooler


@pytest.fixture
def pooled(pooler: PgBouncer, store: PostgresStore) -> Iterator[PostgresStore]:
    """The store through a pooler that keeps sessions."""
    engine = engine_through(pooler, store)
    yield PostgresStore(engine)
    engine.dispose()


def engine_through(pooler: PgBouncer, store: PostgresStore, options: str = "") -> Engine:
    url = pooler.through(store.engine.url.render_as_string(hide_password=False)) + options
    return create_engine(url, application_name="tests", statement_timeout=7)


@pytest.fixture
def sharing(servers: Servers, store: PostgresStore, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine through a pooler with the settings of the parameter, which has been warmed up by other clients."""
    settings, clients = request.param
    with pgbouncer(servers.database.admin_url, **settings) as pooler:
        url = pooler.through(store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
        with ExitStack() as stack:
            for _ in range(clients):
                connection = psycopg2.connect(url)
                stack.callback(connection.close)
                if settings["pool_mode"] == "transaction":
                    connection.cursor().execute("SELECT 1")  # its transaction stays open until it is closed
        engine = create_engine(url, application_name="tests")
        yield engine
        engine.dispose()


@pytest.mark.parametrize(
    "sharing",
    [
        ({"pool_mode": "transaction", "server_round_robin": turns, "default_pool_size": size}, clients)
        for turns in ("0", "1")
        for size in ("1", "5")
        for clients in (0, 1, 2, 5)
        if clients <= int(size)
    ],
    indirect=True,
    ids=str,
)
def test_transaction_pooling_is_refused(sharing: Engine) -> None:
    for _ in range(5):
        with pytest.raises(StoreUnavailableError, match=TRANSACTION_POOLING):
            sharing.connect()


def test_transaction_pooling_is_refused_though_another_client_has_the_session_for_a_moment(
    servers: Servers, store: PostgresStore
) -> None:
    with ExitStack() as stack:
        pooler = stack.enter_context(pgbouncer(servers.database.admin_url, pool_mode="transaction"))
        dsn = pooler.through(store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
        another = stack.enter_context(closing(psycopg2.connect(dsn)))

        class UntilAsked(cursor):
            def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's own signature
                super().execute(query, vars)
                another.rollback()

        def connect() -> WatchedConnection:
            another.cursor().execute("SELECT 1")
            made = WatchedConnection(dsn, {}, inf)
            made.cursor_factory = UntilAsked
            return made

        settings = SessionSettings({}, statement_timeout=0, lock_timeout=5, idle_timeout=60)
        here = stack.enter_context(closing(WatchedConnection(dsn, {}, inf)))
        with pytest.raises(StoreUnavailableError, match=TRANSACTION_POOLING):
            settings.prepare(here, connect)


@pytest.mark.parametrize("sharing", [({"pool_mode": "statement"}, 0)], indirect=True, ids=str)
def test_statement_pooling_is_refused(sharing: Engine) -> None:
    with pytest.raises(StoreUnavailableError, match=REFUSED.format("it ends a connection that begins a transaction")):
        sharing.connect()


def test_a_refused_connection_changes_nothing_for_other_clients(servers: Servers, store: PostgresStore) -> None:
    with pgbouncer(servers.database.admin_url, pool_mode="transaction", default_pool_size="1") as pooler:
        engine = engine_through(pooler, store)
        with pytest.raises(StoreUnavailableError, match=TRANSACTION_POOLING):
            engine.connect()
        url = sa.make_url(pooler.through(store.engine.url.render_as_string(hide_password=False)))
        other = sa.create_engine(url)
        with other.connect() as connection:
            shown = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in ("statement_timeout", "jit")}
        assert shown == {"statement_timeout": "0", "jit": "on"}
        other.dispose()


def test_session_pooling_works_without_any_setting_of_the_pooler(pooled: PostgresStore) -> None:
    assert process(pooled.unit_of_work, message(create("b", 10))) == [Done()]
    with pooled.engine.connect() as connection:
        shown = [connection.scalar(sa.text(f"SHOW {name}")) for name in ("statement_timeout", "random_page_cost")]
    assert shown == ["7s", "1.1"]
    with pooled.open_pending() as first, pooled.open_pending() as second:
        assert first.acquire()
        assert not second.acquire()
        assert len(first.fetch(10, [])) == 1


def test_the_schema_in_the_address_is_used_behind_a_pooler(pooler: PgBouncer, store: PostgresStore) -> None:
    engine = engine_through(pooler, store, "?options=-csearch_path%3Dpg_catalog")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW search_path")) == "pg_catalog"
    engine.dispose()


def test_options_that_are_no_settings_are_refused_by_the_pooler_in_one_sentence(
    pooler: PgBouncer, store: PostgresStore
) -> None:
    sentence = (
        r"^The connection pooler refuses a startup parameter \(.*options.*\); look at the options in ALLOCATION_D"
    )
    with pytest.raises(StoreUnavailableError, match=sentence):
        engine_through(pooler, store, "?options=-e").connect()


def test_what_another_client_left_in_a_session_is_gone(servers: Servers, store: PostgresStore) -> None:
    """The pooler resets nothing, and the one before held the relay's lock."""
    with pgbouncer(servers.database.admin_url, server_reset_query="", default_pool_size="2") as pooler:
        url = pooler.through(store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
        connection = psycopg2.connect(url)
        connection.autocommit = True
        with connection.cursor() as there:
            there.execute("SET synchronous_commit = off; SET array_nulls = off; SET search_path = nowhere")
            there.execute("SET allocation.relay = 'another'; SELECT pg_advisory_lock(7140002); SELECT pg_backend_pid()")
            [dirty] = there.fetchone() or [None]
        connection.close()
        engine = engine_through(pooler, store)
        with engine.connect() as connection_:
            assert backend_of(connection_) == dirty
            assert connection_.scalar(sa.text("SHOW synchronous_commit")) == "on"
        pooled = PostgresStore(engine)
        assert process(pooled.unit_of_work, message(create("b", 10))) == [Done()]
        with pooled.open_pending() as session:
            assert session.acquire()
        engine.dispose()


def test_a_pooler_that_begins_to_share_sessions_makes_no_second_relay_active(
    servers: Servers, store: PostgresStore
) -> None:
    """The check at connecting cannot see what is changed later."""
    written = store.write_pages(*[["allocated.v1"]] * 3)
    with pgbouncer(servers.database.admin_url, pool_mode="session") as pooler:
        engine = engine_through(pooler, store)
        pooled = PostgresStore(engine)
        with pooled.open_pending() as first, pooled.open_pending() as second:
            assert first.acquire()
            assert first._session
            assert [event.id for event in first.fetch(1, [])] == written[:1]
            pooler.change({"pool_mode": "transaction"})
            for _ in range(5):
                try:
                    assert not second.acquire()
                except StoreUnavailableError as error:
                    assert re.match(TRANSACTION_POOLING, str(error))  # noqa: PT017 - it may as well return False
            url = pooler.through(store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
            first.wait(0, wake_fd=0)
            with ExitStack() as stack:
                taken = None
                while taken != first._session[0]:  # until a transaction of somebody else has the session
                    other = stack.enter_context(closing(psycopg2.connect(url)))
                    with other.cursor() as there:
                        there.execute("SELECT pg_backend_pid()")
                        [taken] = there.fetchone() or [None]
                with pytest.raises(StoreUnavailableError, match=TRANSACTION_POOLING):
                    first.fetch(1, [])
        engine.dispose()


def test_a_pooler_that_begins_to_share_sessions_makes_no_commit_weaker(servers: Servers, store: PostgresStore) -> None:
    with pgbouncer(servers.database.admin_url, pool_mode="session", default_pool_size="2") as pooler:
        engine = engine_through(pooler, store)
        url = pooler.through(store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
        weaker = "SET synchronous_commit = off; SET array_nulls = off; SET statement_timeout = 9000"
        with engine.connect() as connection:
            connection.rollback()
            pooler.change({"pool_mode": "transaction"})
            connection.execute(sa.text("SELECT 1"))
            connection.rollback()
            with closing(psycopg2.connect(url)) as one, closing(psycopg2.connect(url)) as two:
                for other in (one, two):
                    other.cursor().execute(weaker)
                for other in (one, two):
                    other.commit()
            shown = (
                "SELECT current_setting('statement_timeout'), current_setting('synchronous_commit'), '{NULL}'::text[]"
            )
            assert tuple(connection.execute(sa.text(shown)).one()) == ("9s", "on", [None])
            connection.invalidate()
        engine.dispose()
