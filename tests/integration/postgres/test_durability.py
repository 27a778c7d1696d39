"""What the guarantees rest on: the facts, and each weakness made for real. Those of standbys are in `test_standby`."""

import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.durability import durability, examine
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.migrate import migrate
from allocation_worker.adapters.postgres.verify import audit
from allocation_worker.adapters.postgres.weaknesses import KEYS, TABLES
from allocation_worker.service_layer.durability import Durability, Weakness
from allocation_worker.service_layer.verify import Audit
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.local_database import LocalDatabase
from allocation_worker.testing.servers.programs import find_program
from tests.integration.postgres.settings import changed, run


class Case(NamedTuple):
    """A damage, and the weakness that tells of it."""

    kind: str
    damage: str
    begins: str
    is_fault: bool = True


OF_TABLES = [
    Case("unlogged-table", "ALTER TABLE inbox_entries SET UNLOGGED", "The table inbox_entries is unlogged: a crash"),
    Case(
        "temporary-table",
        "CREATE TEMPORARY TABLE inbox_entries (LIKE inbox_entries INCLUDING ALL)",
        "A temporary table inbox_entries",
    ),
    Case(
        "no-ordinary-table",
        "ALTER TABLE inbox_entries RENAME TO old; CREATE VIEW inbox_entries AS TABLE old",
        "inbox_entries is a view and no ordinary table",
    ),
    Case(
        "no-ordinary-table",
        "ALTER TABLE inbox_entries RENAME TO old; CREATE MATERIALIZED VIEW inbox_entries AS TABLE old",
        "inbox_entries is a materialized view",
    ),
    Case(
        "no-ordinary-table",
        "ALTER TABLE outbox_pages RENAME TO old; CREATE FOREIGN DATA WRAPPER none; "
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER none; "
        "CREATE FOREIGN TABLE outbox_pages (id bigint) SERVER elsewhere",
        "outbox_pages is a foreign table",
    ),
    Case(
        "no-ordinary-table",
        "ALTER TABLE inbox_entries RENAME TO old; CREATE TABLE inbox_entries (LIKE old) PARTITION BY RANGE (key)",
        "inbox_entries is a partitioned table",
    ),
    Case(
        "other-schema",
        "CREATE SCHEMA shop; ALTER TABLE outbox_pages SET SCHEMA shop; SET LOCAL search_path = public, shop",
        "The search path finds the table outbox_pages in the schema shop, and the table inbox_entries in public",
    ),
    Case(
        "hidden-table",
        "CREATE SCHEMA old; CREATE TABLE old.inbox_entries (id int); SET LOCAL search_path = public, old",
        "The search path has another table inbox_entries, in the schema old, behind that of the schema public",
        is_fault=False,
    ),
    Case(
        "inherited-table", "CREATE TABLE more () INHERITS (inbox_entries)", "The table inbox_entries has the child more"
    ),
    Case(
        "access-method",
        "CREATE ACCESS METHOD columns TYPE TABLE HANDLER heap_tableam_handler; "
        "ALTER TABLE inbox_entries SET ACCESS METHOD columns",
        "The table inbox_entries uses the access method columns",
    ),
    Case(
        "row-security",
        "CREATE ROLE shop; ALTER TABLE inbox_entries ENABLE ROW LEVEL SECURITY; SET LOCAL ROLE shop",
        "Row security is in force on the table inbox_entries for the role shop",
    ),
    Case(
        "before-trigger",
        "CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER censor BEFORE INSERT ON outbox_pages FOR EACH ROW EXECUTE FUNCTION drop_it()",
        "The trigger censor on the table outbox_pages is not ours and runs before",
    ),
    Case(
        "after-trigger",
        "CREATE FUNCTION note_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER auditor AFTER INSERT ON outbox_pages FOR EACH ROW EXECUTE FUNCTION note_it()",
        "The trigger auditor on the table outbox_pages is not ours: it runs in our transactions",
        is_fault=False,
    ),
    Case(
        "rewrite-rule",
        "CREATE RULE censor AS ON INSERT TO outbox_pages DO INSTEAD NOTHING",
        "The rule censor on the table outbox_pages",
    ),
    Case(
        "missing-key",
        "ALTER TABLE inbox_entries DROP CONSTRAINT inbox_entries_pkey",
        "The table inbox_entries has no valid unique index on",
    ),
    Case(
        "missing-key",
        "ALTER TABLE batches DROP CONSTRAINT batches_sku_arrival_key; "
        "CREATE UNIQUE INDEX partial ON batches (sku, arrival) WHERE in_stock",
        "The table batches has no valid unique index on (arrival, sku)",
    ),
    Case(
        "missing-key",
        "ALTER TABLE inbox_entries DROP CONSTRAINT inbox_entries_pkey; "
        "ALTER TABLE inbox_entries ADD CONSTRAINT later PRIMARY KEY (key) DEFERRABLE",
        "The table inbox_entries has no valid unique index on (key)",
    ),
    Case(
        "missing-check",
        "ALTER TABLE batches DROP CONSTRAINT never_oversold",
        "The table batches has no constraint never_oversold",
    ),
    Case(
        "missing-index",
        "DROP INDEX waiting_lines_in_turn",
        "The table order_lines has no index waiting_lines_in_turn: each command that looks for such lines reads all",
    ),
    Case(
        "sequence-behind",
        "INSERT INTO outbox_pages (id, count, events) OVERRIDING SYSTEM VALUE VALUES (1000000, 1, '')",
        "The sequence of outbox_pages.id is at ",
    ),
    Case("missing-table", "DROP TABLE inbox_entries", "There is no table inbox_entries in the search path"),
]


def of_kind(found: Durability, kind: str) -> list[Weakness]:
    return [weakness for weakness in found.weaknesses if weakness.kind == kind]


def kinds(engine: Engine) -> set[str]:
    return {weakness.kind for weakness in durability(engine).weaknesses}


def look(engine: Engine) -> Audit:
    return audit(engine, history_days=30, inbox_days=7, stuck_after=300)


@pytest.mark.parametrize("case", OF_TABLES, ids=lambda case: f"{case.kind}: {case.damage[:40]}")
def test_what_weakens_the_tables_is_told(engine: Engine, case: Case) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(case.damage)
        [weakness] = of_kind(examine(connection), case.kind)
        connection.rollback()
    assert weakness.sentence.startswith(case.begins)
    assert weakness.is_fault == case.is_fault


def test_the_tables_as_they_are_migrated_have_no_weakness(engine: Engine) -> None:
    assert not kinds(engine) & {condition.kind for condition in TABLES}


def test_the_tables_that_are_looked_at_are_those_of_the_schema(engine: Engine) -> None:
    # No promise rests on these. The old tables hold what programs of revision 0001 write, which triggers copy.
    others = {"alembic_version", "schema_revision", "prune_clock", "inbox", "outbox"}
    assert set(KEYS) == set(sa.inspect(engine).get_table_names()) - others


def test_the_unique_keys_that_are_looked_for_are_those_of_the_schema(engine: Engine) -> None:
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        for table, keys in KEYS.items():
            unique = [constraint["column_names"] for constraint in inspector.get_unique_constraints(table)]
            there = [inspector.get_pk_constraint(table)["constrained_columns"], *unique]
            assert sorted(keys) == sorted(", ".join(sorted(columns)) for columns in there)


def test_every_condition_that_fits_this_server_can_be_run(engine: Engine) -> None:
    unknown = [weakness for weakness in durability(engine).weaknesses if "is unknown" in weakness.sentence]
    assert unknown == []


def test_a_disabled_trigger_is_no_weakness(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER censor BEFORE INSERT ON outbox_pages FOR EACH ROW EXECUTE FUNCTION drop_it()"
        )
        connection.exec_driver_sql("ALTER TABLE outbox_pages DISABLE TRIGGER censor")
        assert of_kind(examine(connection), "before-trigger") == []
        connection.rollback()


def test_what_a_role_may_not_see_is_told_and_ends_nothing(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE ROLE shop")
        connection.exec_driver_sql("SET LOCAL ROLE shop")
        found = examine(connection)
        connection.rollback()
    [unknown] = of_kind(found, "sequence-behind")
    assert unknown.sentence.startswith("Whether there is a case of sequence-behind is unknown: The database refuses a ")
    assert not unknown.is_fault
    assert found.facts["standbys"] is None


@pytest.fixture
def own(servers: Servers) -> Iterator[Engine]:
    """A database of the test's own, with the tables."""
    url = servers.database.new_database()
    engine = create_engine(url, application_name="tests")
    migrate(engine)
    yield engine
    engine.dispose()
    servers.database.drop(url)


def test_verify_tells_what_weakens_the_guarantees(own: Engine) -> None:
    run(own, "ALTER TABLE inbox_entries SET UNLOGGED", "ALTER TABLE outbox_pages SET UNLOGGED")
    found = look(own)
    [fault] = [fault for fault in found.faults if fault.kind == "unlogged-table"]
    assert (fault.count, len(fault.examples)) == (2, 2)
    assert found.counts["inbox"] == 0
    assert found.durability["fsync"] == "on"


def test_verify_does_not_read_rows_that_are_elsewhere(own: Engine) -> None:
    run(own, "DROP TABLE inbox_entries")
    found = look(own)
    assert "missing-table" in [fault.kind for fault in found.faults]
    assert found.counts == {}
    assert "The rows were not checked." in found.notices


def test_an_index_that_could_not_be_built_is_told(own: Engine) -> None:
    insert = (
        "INSERT INTO inbox_entries (key, received_at, fingerprint) "
        "VALUES (inbox_key('{}'), '2026-01-01', decode(repeat('00', 32), 'hex'))"
    )
    run(own, insert.format("a"), insert.format("b"))
    with pytest.raises(Exception, match="duplicated"):
        run(own, "CREATE UNIQUE INDEX CONCURRENTLY doubles ON inbox_entries (received_at)")
    [weakness] = of_kind(durability(own), "invalid-index")
    assert weakness.sentence.startswith("The index doubles of the table inbox_entries is not valid")
    run(own, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'inbox_entries_pkey'::regclass")
    assert {"invalid-index", "missing-key"} <= kinds(own)


def test_a_collation_that_has_changed_since_is_told(servers: Servers) -> None:
    name = sa.make_url(url := servers.database.new_database()).database
    admin = create_engine(servers.database.admin_url, application_name="tests")
    run(
        admin,
        f'DROP DATABASE "{name}"',
        f"CREATE DATABASE \"{name}\" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'",
    )
    engine = create_engine(url, application_name="tests")
    migrate(engine)
    assert "collation-changed" not in kinds(engine)
    run(engine, "UPDATE pg_database SET datcollversion = '1' WHERE datname = current_database()")
    [weakness] = of_kind(durability(engine), "collation-changed")
    assert weakness.sentence.startswith("The index outbox_unrouted_by_type was built with version 1 of its collation")
    engine.dispose()
    servers.database.drop(url)


def test_the_settings_of_the_servers_sessions_and_not_its_defaults(own: Engine) -> None:
    """Such as an administrator may have changed for one database."""
    run(own, f'ALTER DATABASE "{own.url.database}" SET zero_damaged_pages = on')
    assert "damage-ignored" in kinds(own)


def test_a_commit_is_as_strong_as_the_sessions_of_the_program_have_it(own: Engine) -> None:
    run(own, f'ALTER DATABASE "{own.url.database}" SET synchronous_commit = off')
    assert durability(own).facts["synchronous_commit"] == "on"


@pytest.mark.parametrize(
    ("settings", "kind", "begins"),
    [
        ({"fsync": "off"}, "fsync-off", "fsync is off: a crash of the machine"),
        ({"full_page_writes": "off"}, "full-page-writes-off", "full_page_writes is off"),
        ({"zero_damaged_pages": "on"}, "damage-ignored", "zero_damaged_pages is on"),
        ({"ignore_checksum_failure": "on"}, "damage-ignored", "ignore_checksum_failure is on"),
        (
            {"synchronous_standby_names": "ANY 2 (a, b)"},
            "synchronous-standby-away",
            "synchronous_standby_names is 'ANY 2 (a, b)' and needs 2, and 0 such standbys are streaming",
        ),
        ({"default_transaction_read_only": "on"}, "read-only", "default_transaction_read_only is on"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_setting_that_weakens_the_guarantees_is_told(
    own_engine: Engine, settings: dict[str, str], kind: str, begins: str
) -> None:
    assert kind not in kinds(own_engine)
    with changed(own_engine, settings):
        found = durability(own_engine)
        [weakness] = of_kind(found, kind)
        assert weakness.sentence.startswith(begins)
        assert weakness.is_fault
        assert kind in [fault.kind for fault in look(own_engine).faults]


def test_a_server_that_can_have_no_standby_is_noticed(own_engine: Engine, own_server: LocalDatabase) -> None:
    with changed(own_engine, {"wal_level": "minimal", "max_wal_senders": "0"}, restarting=own_server):
        [weakness] = of_kind(durability(own_engine), "wal-level-minimal")
        assert not weakness.is_fault
        assert weakness.sentence in look(own_engine).notices


def test_data_checksums_are_noticed_where_they_are_off(own_engine: Engine, own_server: LocalDatabase) -> None:
    """They are on by default from PostgreSQL 18 on."""
    change_checksums(own_engine, own_server, "--enable")
    assert "data-checksums-off" not in kinds(own_engine)
    assert durability(own_engine).facts["data_checksums"] == "on"
    change_checksums(own_engine, own_server, "--disable")
    assert "data-checksums-off" in kinds(own_engine)


def change_checksums(engine: Engine, server: LocalDatabase, option: str) -> None:
    engine.dispose()
    server.stop()
    command = [str(find_program("pg_checksums")), option, "-D", str(server.folder / "data")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, user=server._user)
    assert done.returncode == 0 or "already" in done.stderr, done.stderr
    server.start()


def test_a_plain_role_is_told_that_it_sees_no_standby(own_engine: Engine) -> None:
    with changed(own_engine, {"synchronous_standby_names": "away"}), own_engine.connect() as connection:
        connection.exec_driver_sql("CREATE ROLE shop")
        connection.exec_driver_sql("SET LOCAL ROLE shop")
        found = examine(connection)
        assert of_kind(found, "synchronous-standby-away") == []
        [weakness] = of_kind(found, "standbys-not-visible")
        assert weakness.sentence.endswith("GRANT pg_monitor TO shop.")
        connection.exec_driver_sql("RESET ROLE")
        connection.exec_driver_sql("GRANT pg_monitor TO shop")
        connection.exec_driver_sql("SET LOCAL ROLE shop")
        assert of_kind(examine(connection), "synchronous-standby-away") != []
        connection.rollback()


def test_a_table_that_a_subscription_writes_to_is_told(own_engine: Engine, own_server: LocalDatabase) -> None:
    # The subscription has no slot and no worker. DROP SUBSCRIPTION then asks no publisher: where that is the same
    # server, the new session waits for a lock that DROP SUBSCRIPTION holds, and both wait until a time-out.
    target = create_engine(own_server.new_database(), application_name="tests")
    migrate(target)
    run(own_engine, "CREATE PUBLICATION stock FOR TABLE outbox_pages")
    source = own_engine.url.render_as_string(hide_password=False).replace("+psycopg2", "")
    options = "enabled = false, create_slot = false, slot_name = NONE"
    run(target, f"CREATE SUBSCRIPTION copy CONNECTION '{source}' PUBLICATION stock WITH ({options})")
    [weakness] = of_kind(durability(target), "replicated-into")
    assert weakness.sentence.startswith("A subscription writes to the table outbox_pages")
    run(target, "DROP SUBSCRIPTION copy")
    assert "replicated-into" not in kinds(target)
    run(own_engine, "DROP PUBLICATION stock")
    target.dispose()
