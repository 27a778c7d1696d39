"""Migrating the schema."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.schema import SchemaOutdatedError, check, migrate
from allocation_worker.bootstrap import migrate as wiring
from allocation_worker.config import load
from allocation_worker.service_layer.ports import StoreError, StoreUnavailableError
from allocation_worker.testing.servers.local_database import LocalDatabase
from allocation_worker.testing.waiting import wait_until
from tests.integration.postgres.settings import changed, run
from tests.integration.postgres.staging import DEADLINE, until

TABLES = {"products", "batches", "order_lines", "inbox", "outbox", "prune_clock", "alembic_version"}


@pytest.fixture
def bare(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url, application_name="tests")
    yield engine
    engine.dispose()


def test_migrate_makes_the_tables(bare: Engine) -> None:
    assert migrate(bare) == (None, "0002")
    assert set(sa.inspect(bare).get_table_names()) == TABLES


def test_migrate_again_changes_nothing(bare: Engine) -> None:
    migrate(bare)
    with bare.begin() as connection:
        connection.execute(sa.text("INSERT INTO products VALUES ('LAMP', gen_random_uuid(), 0, 0)"))
    assert migrate(bare) == ("0002", "0002")
    with bare.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM products")) == 1


def test_two_migrations_at_once_are_one(bare: Engine) -> None:
    barrier = Barrier(3, timeout=20)

    def start_together() -> tuple[str | None, str]:
        barrier.wait()
        return migrate(bare)

    with ThreadPoolExecutor(3) as pool:
        results = [future.result(timeout=30) for future in [pool.submit(start_together) for _ in range(3)]]
    assert sorted(results, key=str) == [("0002", "0002"), ("0002", "0002"), (None, "0002")]


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
        "The database schema is at nothing, this program needs 0002; run `allocation-worker migrate`."
    )
    assert isinstance(outdated.value, StoreError)


def test_check_refuses_the_tables_of_another_version(bare: Engine) -> None:
    migrate(bare)
    with bare.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(SchemaOutdatedError, match="is at 0000, this program needs 0002"):
        check(bare)


def test_check_is_content_with_tables_of_this_version(bare: Engine) -> None:
    migrate(bare)
    check(bare)


def test_a_failed_migration_leaves_nothing(bare: Engine) -> None:
    with bare.begin() as connection:
        connection.execute(sa.text("CREATE TABLE outbox (in_the_way integer)"))
    with pytest.raises(StoreError, match="already exists"):
        migrate(bare)
    assert sa.inspect(bare).get_table_names() == ["outbox"]


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
        assert again.result(DEADLINE) == ("0002", "0002")
