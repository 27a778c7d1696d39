"""What a session must have in force, whatever the database, the role or the address say."""

from collections.abc import Iterator
from datetime import date
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url
from structlog.testing import capture_logs

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.session import split_options
from allocation_worker.domain.commands import Command, CreateBatch
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.servers import Servers
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, order, process
from tests.integration.postgres.store import PostgresStore, migrated_engine

AGAINST_US = {
    "synchronous_commit": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "2s",
    "client_min_messages": "error",
    "client_encoding": "LATIN1",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "row_security": "on",
    "transform_null_equals": "on",
    "random_page_cost": "4",
    "jit": "on",
}
IN_FORCE = {
    "synchronous_commit": "on",
    "statement_timeout": "7s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "1min",
    "idle_session_timeout": "0",
    "client_min_messages": "warning",
    "client_encoding": "UTF8",
    "array_nulls": "on",
    "standard_conforming_strings": "off",
    "bytea_output": "hex",
    "datestyle": "ISO, MDY",
    "default_transaction_isolation": "read committed",
    "row_security": "off",
    "random_page_cost": "1.1",
    "jit": "off",
}


def worker(url: str, options: str = "") -> Engine:
    """An engine as `consume` has it."""
    address = f"{url}?options={quote(options)}" if options else url
    return create_engine(address, application_name="tests", statement_timeout=7)


def show(engine: Engine, name: str) -> object:
    with engine.connect() as connection:
        return connection.scalar(sa.text(f"SHOW {name}"))


def alter_database(servers: Servers, url: str, **settings: str) -> None:
    name = make_url(url).database
    admin = sa.create_engine(servers.database.admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for setting, value in settings.items():
            connection.execute(sa.text(f"ALTER DATABASE \"{name}\" SET {setting} = '{value}'"))
    admin.dispose()


@pytest.fixture
def hostile(servers: Servers, database_url: str) -> Iterator[PostgresStore]:
    """A store in a database whose own settings are all against us."""
    migrated_engine(database_url).dispose()
    alter_database(servers, database_url, **{**AGAINST_US, "datestyle": "SQL"})
    engine = worker(database_url)
    yield PostgresStore(engine)
    engine.dispose()


@pytest.mark.parametrize("name", IN_FORCE)
def test_what_is_needed_is_in_force_whatever_is_set_for_the_database(hostile: PostgresStore, name: str) -> None:
    assert show(hostile.engine, name) == IN_FORCE[name]


def test_what_is_set_for_the_user_in_this_database_does_not_count(servers: Servers, database_url: str) -> None:
    name = make_url(database_url).database
    user = make_url(database_url).username
    admin = sa.create_engine(servers.database.admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f'ALTER ROLE "{user}" IN DATABASE "{name}" SET synchronous_commit = local'))
    admin.dispose()
    engine = worker(database_url)
    assert show(engine, "synchronous_commit") == "on"
    engine.dispose()


def test_commands_are_decided_alike_whatever_is_set_for_the_database(hostile: PostgresStore) -> None:
    given: list[Command] = [
        create("bätch-€", 10, "NULL"),
        CreateBatch(batchref="null", sku="NULL", qty=5, eta=date(2027, 2, 3)),
        order("o\\'1", 3, "NULL"),
    ]
    for command in given:
        assert process(hostile.unit_of_work, message(command)) == [Done()]
    assert hostile.stock() == {"bätch-€": (10, 3), "null": (5, 0)}
    [line] = hostile.lines()
    assert line[:5] == ("o\\'1", "NULL", line[2], 3, "bätch-€")
    repeat = message(order("o2", 1, "NULL"))
    assert process(hostile.unit_of_work, repeat) == process(hostile.unit_of_work, repeat) == [Done()]
    with hostile.open_pending() as session:
        assert session.acquire()
        assert len(session.fetch(10, [])) == 4


def test_the_relay_reads_committed_rows_while_others_write(hostile: PostgresStore) -> None:
    with hostile.open_pending() as session:
        assert session.acquire()
        assert session._connection.scalar(sa.text("SHOW transaction_isolation")) == "read committed"


@pytest.mark.parametrize(
    ("configured", "in_force"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
@pytest.mark.parametrize("where", ["database", "address"])
def test_a_commit_is_flushed_everywhere_and_a_stronger_choice_is_kept(
    servers: Servers, database_url: str, configured: str, in_force: str, where: str
) -> None:
    if where == "database":
        alter_database(servers, database_url, synchronous_commit=configured)
    engine = worker(database_url, f"-csynchronous_commit={configured}" if where == "address" else "")
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT set_config('synchronous_commit', 'off', false)"))
        connection.commit()  # as a pooler may do that shares sessions
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == in_force
    engine.dispose()


@pytest.mark.parametrize("name", ["client_min_messages", "array_nulls"])
def test_each_transaction_says_what_it_needs(store: PostgresStore, name: str) -> None:
    weaker = {"client_min_messages": "error", "array_nulls": "off"}[name]
    with store.engine.connect() as connection:
        connection.execute(sa.text(f"SET {name} = {weaker}"))
        connection.commit()
        assert connection.scalar(sa.text(f"SHOW {name}")) == IN_FORCE[name]
        connection.rollback()
        rows = connection.execution_options(yield_per=10).execute(sa.text(f"SELECT current_setting('{name}')"))
        assert rows.scalar() == IN_FORCE[name]
        connection.invalidate()


def test_only_marks_are_not_durable_and_the_relays_session_stays_as_it_was(store: PostgresStore) -> None:
    written = store.write_pages(["allocated.v1"], ["allocated.v1"])
    with store.open_pending() as session:
        assert session.acquire()
        _, kept = session.fetch(10, [])
        session.mark_published(written[:1], [])
        session.mark_published(written[1:], [event.id for event in kept.events])
        session.remove_unrouted([event.id for event in kept.events])
        assert session._connection.scalar(sa.text("SHOW synchronous_commit")) == "on"


def test_rows_that_a_policy_hides_are_an_error_and_not_missing(database_url: str) -> None:
    owner = migrated_engine(database_url)
    name = make_url(database_url).database or ""
    user = f"limited_{name}"
    with owner.begin() as connection:
        connection.execute(sa.text(f"CREATE ROLE {user} LOGIN PASSWORD 'hush'"))
        connection.execute(sa.text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}"))
        connection.execute(sa.text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {user}"))
        connection.execute(sa.text("ALTER TABLE products ENABLE ROW LEVEL SECURITY"))
    limited = PostgresStore(
        worker(make_url(database_url).set(username=user, password="hush").render_as_string(hide_password=False))
    )
    with pytest.raises(StoreUnavailableError, match="row-level security"), limited.unit_of_work() as uow:
        uow.products.get("LAMP")
    limited.engine.dispose()
    with owner.begin() as connection:
        connection.execute(sa.text(f"DROP OWNED BY {user}"))
        connection.execute(sa.text(f"DROP ROLE {user}"))
    owner.dispose()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("-cstatement_tmeout=3", "statement_tmeout"),
        ("-csearch_path=x -cwork_mem=plenty", "work_mem"),
        ("-clog_connections=on", "log_connections"),
    ],
)
def test_a_setting_that_cannot_be_had_is_refused_in_one_sentence(database_url: str, options: str, told: str) -> None:
    engine = worker(database_url, options)
    sentence = rf"^The database refuses a setting of the session \([^()]*{told}.*\); look at the options in ALLOCATION_"
    with pytest.raises(StoreUnavailableError, match=sentence):
        engine.connect()
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # it is a QueuePool


def test_a_database_that_cannot_hold_every_text_is_refused(servers: Servers) -> None:
    name = "allocation_latin"
    admin = sa.create_engine(servers.database.admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"))
    engine = worker(make_url(servers.database.admin_url).set(database=name).render_as_string(hide_password=False))
    try:
        with pytest.raises(StoreUnavailableError, match=r"^The database has the encoding LATIN1, which cannot hold"):
            engine.connect()
    finally:
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@pytest.mark.parametrize(
    ("options", "settings", "rest"),
    [
        ("", {}, ""),
        ("-c a=1 -cb=2  --c-d=x", {"a": "1", "b": "2", "c_d": "x"}, ""),
        (r"-csearch_path=a\ b,c\\d", {"search_path": r"a b,c\d"}, ""),
        ("-ca=1 endpoint=x", {"a": "1"}, "endpoint=x"),
        ("-e -ca=1", {}, "-e -ca=1"),
    ],
)
def test_the_options_of_the_address_are_split(options: str, settings: dict[str, str], rest: str) -> None:
    assert split_options(options) == (settings, rest)


def test_commits_that_wait_for_others_after_a_reconnect_are_told(servers: Servers, database_url: str) -> None:
    engine = worker(database_url)
    with capture_logs() as logs:
        show(engine, "synchronous_commit")
        engine.dispose()
        show(engine, "synchronous_commit")
        assert logs == []
        alter_database(servers, database_url, synchronous_commit="remote_apply")
        engine.dispose()
        show(engine, "synchronous_commit")
    engine.dispose()
    [line] = logs
    assert line["event"] == "durability_changed"
    assert (line["synchronous_commit"], line["before"]) == ("remote_apply", ("on", ""))
