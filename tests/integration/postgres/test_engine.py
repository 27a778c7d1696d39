"""Engines and the translation of database errors."""

import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters.postgres.engine import create_engine, observe_connections
from allocation_worker.service_layer.ports import (
    StoreContentionError,
    StoreError,
    StoreLockTimeoutError,
    StoreUnavailableError,
    StoreUnfitError,
)
from tests.fakes.messages import message
from tests.integration.postgres.staging import DEADLINE, backend_of, create, order, process, terminate
from tests.integration.postgres.store import PostgresStore


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    engine = create_engine(f"postgresql://worker:secret@127.0.0.1:{port}/x", application_name="tests")
    with pytest.raises(StoreUnavailableError) as error:
        engine.connect()
    assert "secret" not in str(error.value)


def test_a_database_that_is_not_there_is_unavailable(engine: Engine) -> None:
    url = engine.url.set(database="no-such-database").render_as_string(hide_password=False)
    with pytest.raises(StoreUnavailableError, match="no-such-database"):
        create_engine(url, application_name="tests").connect()


def test_a_pool_without_a_free_connection_is_unavailable(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    url = engine.url.render_as_string(hide_password=False)
    small = create_engine(url, application_name="tests", pool_size=1)
    monkeypatch.setattr(small.pool, "_timeout", 0.01)
    with small.connect(), pytest.raises(StoreUnavailableError, match="QueuePool limit"):
        small.connect()
    small.dispose()


def test_the_time_to_get_a_connection_is_told_also_after_the_pool_began_anew(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    observed = create_engine(url, application_name="tests", pool_size=1)
    waits: list[float] = []
    observe_connections(observed, waits.append)
    for _ in range(2):
        observed.connect().close()
    observed.dispose()
    observed.connect().close()
    observed.dispose()
    assert len(waits) == 3
    assert all(0 < seconds < DEADLINE for seconds in waits)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("40001", StoreContentionError),
        ("40P01", StoreContentionError),
        ("55P03", StoreLockTimeoutError),
        ("23505", StoreContentionError),
        ("42501", StoreUnfitError),
        ("57014", StoreUnavailableError),
        ("57P01", StoreUnavailableError),
        ("25006", StoreUnavailableError),
        ("53100", StoreUnavailableError),
        ("53300", StoreUnavailableError),
        ("08006", StoreUnavailableError),
        ("58030", StoreUnavailableError),
        ("42P01", StoreUnfitError),
        ("54000", StoreUnfitError),
        ("23502", StoreError),
        ("23514", StoreError),
        ("22001", StoreError),
        ("22003", StoreError),
        ("22021", StoreError),
        ("22P05", StoreError),
        ("P0001", StoreError),
    ],
)
def test_the_servers_error_codes_in_our_words(engine: Engine, code: str, kind: type[StoreError]) -> None:
    raise_it = f"DO $$ BEGIN RAISE EXCEPTION 'staged' USING ERRCODE = '{code}'; END $$"
    with engine.connect() as connection, pytest.raises(StoreError, match="staged") as error:
        connection.execute(sa.text(raise_it))
    assert type(error.value) is kind


def test_ctrl_c_in_a_statement_stays_ctrl_c(engine: Engine) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with engine.connect() as connection:
        sa.event.listen(engine, "do_execute", interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                connection.execute(sa.text("SELECT 1"))
        finally:
            sa.event.remove(engine, "do_execute", interrupt)


def test_a_deadlock_is_contention(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("a", 1, "A")), message(create("b", 1, "B")))
    barrier = Barrier(2, timeout=DEADLINE)

    def lock(first: str, second: str) -> str:
        with store.engine.begin() as connection:
            _lock_product(connection, first)
            barrier.wait()
            try:
                _lock_product(connection, second)
            except StoreContentionError as error:
                return str(error)
        return "locked both"

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(lock, "A", "B"), pool.submit(lock, "B", "A")]
        results = sorted(future.result(timeout=DEADLINE) for future in futures)
    assert "deadlock detected" in results[0]
    assert results[1] == "locked both"


def test_a_lock_timeout_is_contention(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("a", 1)))
    url = store.engine.url.render_as_string(hide_password=False)
    hasty = create_engine(url, application_name="tests", lock_timeout=1)
    with store.engine.begin() as holder, PostgresStore(hasty).unit_of_work() as uow:
        _lock_product(holder, "LAMP")
        with pytest.raises(StoreContentionError, match="lock timeout"):
            uow.products.get("LAMP")
    hasty.dispose()


def test_a_statement_that_takes_too_long_is_unavailability(engine: Engine) -> None:
    hasty = create_engine(
        engine.url.render_as_string(hide_password=False), application_name="tests", statement_timeout=1
    )
    with hasty.connect() as connection, pytest.raises(StoreUnavailableError, match="statement timeout"):
        connection.execute(sa.text("SELECT pg_sleep(30)"))
    hasty.dispose()


def test_a_terminated_backend_is_unavailability_at_the_next_statement_and_forgotten_after(store: PostgresStore) -> None:
    with store.unit_of_work() as uow:
        terminate(store.engine, backend_of(uow._connection))
        with pytest.raises(StoreUnavailableError):
            uow.products.get("LAMP")
    with store.unit_of_work() as uow:
        assert uow.products.get("LAMP") is None


def test_a_backend_terminated_before_the_commit_is_unavailability_and_nothing_is_durable(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("b", 10)))
    received = message(order("o"))
    with store.unit_of_work() as uow:
        uow.inbox.receive([received])
        terminate(store.engine, backend_of(uow._connection))
        with pytest.raises(StoreUnavailableError):
            uow._connection.commit()
    assert received.message_id not in store.taken()


def test_an_error_on_a_dead_connection_is_unavailability_first_of_all(store: PostgresStore) -> None:
    """Asked again once the server is back, the error will show, if it was one."""

    def fail_on_a_dead_connection() -> None:
        with store.unit_of_work() as uow:
            terminate(store.engine, backend_of(uow._connection))
            raise ZeroDivisionError

    with pytest.raises(StoreUnavailableError):
        fail_on_a_dead_connection()
    with store.unit_of_work() as uow:
        assert uow.products.get("LAMP") is None


def _lock_product(connection: Connection, sku: str) -> None:
    connection.execute(sa.text("SELECT 1 FROM products WHERE sku = :sku FOR UPDATE"), {"sku": sku})


def _changed(engine: Engine, **parts: str) -> str:
    return engine.url.set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type] # texts fit these parts


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"password": "hush"}, r"^The database refuses the login \(.+\); look at the user and the password in ALLOC"),
        ({"username": "nobody"}, r"^The database refuses the login \(.+\); look at the user and the password in ALLOC"),
        ({"database": "nowhere"}, r"^There is no such database \(.+nowhere.+\); look at its name in ALLOCATION_DATAB"),
    ],
)
def test_what_cannot_pass_by_itself_is_told_as_what_it_is(engine: Engine, part: dict[str, str], told: str) -> None:
    with pytest.raises(StoreUnavailableError, match=told) as error:
        create_engine(_changed(engine, **part), application_name="tests").connect()
    assert "hush" not in str(error.value)
    assert str(engine.url.password) not in str(error.value)


def test_a_database_without_tls_is_told_where_the_address_asks_for_it(engine: Engine) -> None:
    url = f"{_changed(engine)}?sslmode=require"
    with pytest.raises(StoreUnavailableError, match=r"^The database's TLS does not fit \(.+\); look at sslmode and"):
        create_engine(url, application_name="tests").connect()


def test_the_schema_that_the_address_names_is_the_one_that_is_used(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS elsewhere"))
    url = f"{_changed(engine)}?options=-csearch_path%3Delsewhere%20-cstatement_timeout%3D0\n"
    there = create_engine(url, application_name="tests", statement_timeout=7)
    with there.begin() as connection:
        assert connection.execute(sa.text("SELECT current_schema()")).scalar() == "elsewhere"
        assert connection.execute(sa.text("SHOW statement_timeout")).scalar() == "7s"
        connection.execute(sa.text("CREATE TABLE here (id int)"))
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT to_regclass('elsewhere.here') IS NOT NULL")).scalar()
        connection.execute(sa.text("DROP SCHEMA elsewhere CASCADE"))
    there.dispose()


def test_of_several_hosts_the_one_that_is_there_is_used(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        away = listener.getsockname()[1]
    url = _changed(engine)
    there = f"@{engine.url.host}:{engine.url.port}/"
    both = create_engine(url.replace(there, f"@127.0.0.1:{away},{there[1:]}"), application_name="tests")
    with both.connect() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    both.dispose()


def test_a_server_that_cannot_be_written_to_is_passed_over_where_there_are_several(
    engine: Engine, database_url: str
) -> None:
    there = sa.make_url(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{there.database}" SET default_transaction_read_only = on'))
    place = f"@{there.host}:{there.port}/"
    twice = there.render_as_string(hide_password=False).replace(place, f"{place[:-1]},{place[1:]}")
    read_only = create_engine(twice, application_name="tests")
    with pytest.raises(StoreUnavailableError, match="session is read-only"):
        read_only.connect()
