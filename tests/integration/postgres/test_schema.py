"""Migrating the schema, and which programs may use it."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres import migrate as migration
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.migrate import EncodingError, migrate
from allocation_worker.adapters.postgres.schema import REVISION as NEWEST
from allocation_worker.adapters.postgres.schema import (
    SchemaForeignError,
    SchemaOutdatedError,
    SchemaTooNewError,
    check,
)
from allocation_worker.bootstrap import migrate as wiring
from allocation_worker.config import load
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports import StoreError, StoreUnavailableError
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.local_database import LocalDatabase
from allocation_worker.testing.waiting import wait_until
from tests.fakes.messages import message
from tests.integration.postgres.settings import changed, run
from tests.integration.postgres.staging import DEADLINE, create, process, until
from tests.integration.postgres.store import PostgresStore

TABLES = {
    *{"products", "batches", "order_lines", "inbox", "outbox", "alembic_version"},
    *{"inbox_entries", "outbox_pages", "outbox_unrouted", "prune_clock", "schema_revision", "restorations"},
    "pruned_batches",
}


@pytest.fixture
def bare(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url, application_name="tests")
    yield engine
    engine.dispose()


def pretend(engine: Engine, revision: str, oldest_program: str) -> None:
    """A newer program has migrated."""
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE schema_revision SET version_num = :revision, oldest_program = :oldest_program"),
            {"revision": revision, "oldest_program": oldest_program},
        )


def test_migrate_makes_the_tables(bare: Engine) -> None:
    assert migrate(bare) == (None, NEWEST)
    assert set(sa.inspect(bare).get_table_names()) == TABLES


def test_migrate_again_changes_nothing(bare: Engine) -> None:
    migrate(bare)
    with bare.begin() as connection:
        connection.execute(sa.text("INSERT INTO products VALUES ('LAMP', gen_random_uuid(), 0, 0)"))
    assert migrate(bare) == (NEWEST, NEWEST)
    with bare.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM products")) == 1


INDEXES_OF_LINES = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'order_lines'::regclass"


def test_an_index_is_replaced_though_the_revision_is_the_newest_and_is_there_until_the_other_is(bare: Engine) -> None:
    """Programs that still run must not read all lines meanwhile."""
    migrate(bare)
    with bare.begin() as connection:
        expected = set(connection.scalars(sa.text(INDEXES_OF_LINES)))
        connection.execute(sa.text("DROP INDEX waiting_lines_in_turn"))
        connection.execute(sa.text("CREATE INDEX waiting_lines ON order_lines (sku)"))
    changes: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "INDEX" in statement and "waiting_lines" in statement and "waiting_lines_by" not in statement:
            changes.append(" ".join(statement.split()[:2]))

    sa.event.listen(bare, "before_cursor_execute", note)
    try:
        migrate(bare)
    finally:
        sa.event.remove(bare, "before_cursor_execute", note)
    assert changes == ["CREATE INDEX", "DROP INDEX"]
    with bare.begin() as connection:
        assert set(connection.scalars(sa.text(INDEXES_OF_LINES))) == expected


def test_an_index_whose_build_was_interrupted_is_built_anew(bare: Engine) -> None:
    migrate(bare)
    invalid = "SELECT FROM pg_index WHERE NOT indisvalid"
    with bare.begin() as connection:
        connection.execute(sa.text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'held_lines'::regclass"))
        assert connection.execute(sa.text(invalid)).first() is not None
    migrate(bare)
    with bare.begin() as connection:
        assert connection.execute(sa.text(invalid)).first() is None
        assert "held_lines" in set(connection.scalars(sa.text(INDEXES_OF_LINES)))


def test_two_migrations_at_once_are_one(bare: Engine) -> None:
    barrier = Barrier(3, timeout=20)

    def start_together() -> tuple[str | None, str]:
        barrier.wait()
        return migrate(bare)

    with ThreadPoolExecutor(3) as pool:
        results = [future.result(timeout=30) for future in [pool.submit(start_together) for _ in range(3)]]
    assert [after for _, after in results] == [NEWEST] * 3
    assert [before for before, _ in results].count(None) == 1


def test_the_migration_of_an_operator_leaves_no_connection_behind(bare: Engine, database_url: str) -> None:
    others = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'allocation-worker migrate'")
    gc.disable()  # it would close them some day
    try:
        wiring.migrate(load(database_url=database_url))
        with bare.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wait_until(lambda: connection.scalar(others) == 0, within=10, otherwise=lambda: "It is still connected.")
    finally:
        gc.enable()


def test_check_says_what_to_do_where_there_are_no_tables(bare: Engine) -> None:
    with pytest.raises(SchemaOutdatedError) as outdated:
        check(bare)
    assert str(outdated.value) == (
        f"The database schema is at nothing, this program needs {NEWEST}; run `allocation-worker migrate`."
    )
    assert isinstance(outdated.value, StoreError)


def test_check_refuses_the_tables_of_an_older_version(bare: Engine) -> None:
    migrate(bare)
    pretend(bare, "0002", "0001")
    with pytest.raises(SchemaOutdatedError, match=f"is at 0002, this program needs {NEWEST}; run"):
        check(bare)


def test_check_is_content_with_tables_of_this_version(bare: Engine) -> None:
    migrate(bare)
    check(bare)


def test_a_newer_schema_that_serves_this_program_is_used_and_left_alone(bare: Engine) -> None:
    migrate(bare)
    pretend(bare, "9998", NEWEST)
    check(bare)
    assert migrate(bare) == ("9998", "9998")


def test_a_newer_schema_that_does_not_serve_this_program_is_refused_in_one_sentence(bare: Engine) -> None:
    migrate(bare)
    pretend(bare, "9999", "9998")
    sentence = (
        "The database schema is at 9999, which needs a program of revision 9998 or later, and this one is of "
        f"{NEWEST}; start the newer program."
    )
    for refused in (check, migrate):
        with pytest.raises(SchemaTooNewError) as error:
            refused(bare)
        assert str(error.value) == sentence


def test_the_program_of_revision_0001_finds_its_own_revision(bare: Engine) -> None:
    """It compares the number in Alembic's own table, and waits for ever where that is another."""
    migrate(bare)
    with bare.begin() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0001"


def test_a_failed_migration_leaves_nothing(bare: Engine) -> None:
    with bare.begin() as connection:
        connection.execute(sa.text("CREATE TABLE outbox (in_the_way integer)"))
    with pytest.raises(StoreError, match="already exists"):
        migrate(bare)
    assert sa.inspect(bare).get_table_names() == ["outbox"]


@pytest.mark.parametrize("revision", ["ae1027a6acf4", "0001"])
def test_a_schema_of_another_program_that_uses_alembic_is_refused_and_left_alone(bare: Engine, revision: str) -> None:
    run(bare, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    with bare.begin() as connection:
        connection.execute(sa.text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
    for refused in (check, migrate):
        with pytest.raises(SchemaForeignError, match=f"^The schema has a table alembic_version of .* {revision}; give"):
            refused(bare)
    assert sa.inspect(bare).get_table_names() == ["alembic_version"]


def test_migrate_refuses_a_database_that_is_not_utf8_and_makes_no_tables(servers: Servers) -> None:
    name = f"allocation_ascii_{uuid4().hex}"
    admin = sa.create_engine(servers.database.admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))
    url = sa.make_url(servers.database.admin_url).set(database=name).render_as_string(hide_password=False)
    engine = create_engine(url, application_name="tests")
    try:
        with pytest.raises(EncodingError, match=r"^The database has the encoding SQL_ASCII, so .*ENCODING 'UTF8'"):
            migrate(engine)
        assert sa.inspect(engine).get_table_names() == []
    finally:
        engine.dispose()
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


class TestTwoInstallations:
    """In one database, each in a schema of its own."""

    @pytest.fixture
    def both(self, bare: Engine, database_url: str) -> Iterator[list[PostgresStore]]:
        with bare.begin() as connection:
            connection.execute(sa.text("CREATE SCHEMA one; CREATE SCHEMA two"))
        engines = [
            create_engine(f"{database_url}?options=-csearch_path%3D{name}", application_name="tests", pool_size=8)
            for name in ("one", "two")
        ]
        for engine in engines:
            assert migrate(engine) == (None, NEWEST)
        yield [PostgresStore(engine) for engine in engines]
        for engine in engines:
            engine.dispose()

    def test_each_has_its_own_tables(self, both: list[PostgresStore], bare: Engine) -> None:
        first, second = both
        process(first.unit_of_work, message(create("b", 10), "m"))
        assert (len(first.published()), len(second.published())) == (1, 0)
        assert process(second.unit_of_work, message(create("b", 10), "m")) == [Done()]
        assert len(second.published()) == 1
        assert sa.inspect(bare).get_table_names(schema="public") == []

    def test_both_relays_are_active(self, both: list[PostgresStore]) -> None:
        first, second = both
        with first.open_pending() as one, second.open_pending() as two, first.open_pending() as standby:
            assert one.acquire()
            assert two.acquire()
            assert not standby.acquire()

    def test_a_commit_wakes_its_own_relay_alone(self, both: list[PostgresStore]) -> None:
        first, second = both
        with first.open_pending() as one, second.open_pending() as two:
            assert one.acquire()
            assert two.acquire()
            process(first.unit_of_work, message(create("b", 10)))
            until(lambda: one.wait(0, wake_fd=0))
            assert not two.wait(0, wake_fd=0)

    def test_a_migration_does_not_wait_for_that_of_the_other(self, both: list[PostgresStore]) -> None:
        first, second = both
        with first.engine.begin() as connection:
            connection.execute(migration._LOCK)
            assert migrate(second.engine) == (NEWEST, NEWEST)


def test_migrate_refuses_a_database_that_is_read_only(bare: Engine) -> None:
    run(bare, f'ALTER DATABASE "{bare.url.database}" SET default_transaction_read_only = on')
    with pytest.raises(StoreUnavailableError, match=r"^The database is read-only here: it is a standby, "):
        migrate(bare)


def test_a_migration_whose_wait_for_the_standby_is_cancelled_is_told_and_the_next_one_waits(
    own_server: LocalDatabase, own_engine: Engine
) -> None:
    settings = load(database_url=own_server.new_database())

    def waiting() -> list[int]:
        with own_engine.connect() as connection:
            return list(connection.scalars(sa.text("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")))

    with ThreadPoolExecutor() as threads:
        with changed(own_engine, {"synchronous_standby_names": "away"}):
            first = threads.submit(wiring.migrate, settings)
            until(lambda: bool(waiting()))
            with own_engine.connect() as connection:
                connection.execute(sa.text("SELECT pg_cancel_backend(:pid)"), {"pid": waiting()[0]})
            with pytest.raises(StoreUnavailableError, match=r"^The outcome of COMMIT is unknown: .*cancel"):
                first.result(DEADLINE)
            again = threads.submit(wiring.migrate, settings)
            until(lambda: bool(waiting()))
            assert not again.done()
        assert again.result(DEADLINE) == ("0002", NEWEST)
