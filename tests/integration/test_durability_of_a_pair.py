"""What the guarantees rest on where there is a standby."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psycopg2
import pytest
import sqlalchemy as sa
from psycopg2.extras import PhysicalReplicationConnection
from sqlalchemy import make_url
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.durability import durability
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.migrate import migrate
from allocation_worker.service_layer.durability import Weakness
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.waiting import wait_until
from harness.pair import Pair


@pytest.fixture
def engine(shared_pair: Pair) -> Iterator[Engine]:
    engine = create_engine(shared_pair.new_database(), application_name="tests")
    migrate(engine)
    yield engine
    engine.dispose()


def of_kind(engine: Engine, kind: str) -> list[Weakness]:
    return [weakness for weakness in durability(engine).weaknesses if weakness.kind == kind]


def standbys(engine: Engine) -> list[str]:
    found = durability(engine).facts["standbys"]
    assert isinstance(found, list)
    return found


@contextmanager
def set_on_primary(shared_pair: Pair, name: str, value: str) -> Iterator[None]:
    def until_it_is(expected: str) -> None:
        shared_pair.primary.execute("SELECT pg_reload_conf()")
        wait_until(
            lambda: shared_pair.primary.execute(f"SHOW {name}") == [(expected,)],
            within=20,
            otherwise=lambda: "It is not set.",
        )

    [(before,)] = shared_pair.primary.execute(f"SHOW {name}")
    shared_pair.primary.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    until_it_is(value)
    try:
        yield
    finally:
        shared_pair.primary.execute(f"ALTER SYSTEM RESET {name}")
        until_it_is(str(before))
        shared_pair.wait_for_standby()


def test_a_synchronous_standby_is_no_weakness(engine: Engine) -> None:
    found = durability(engine)
    assert [weakness.kind for weakness in found.weaknesses if "standby" in weakness.kind] == []
    [standby] = standbys(engine)
    assert standby.endswith(" streaming sync")
    assert found.facts["in_recovery"] is False


def test_a_standby_that_is_away_is_told(shared_pair: Pair, engine: Engine) -> None:
    with shared_pair.standby_away():
        [weakness] = of_kind(engine, "synchronous-standby-away")
    assert weakness.is_fault
    assert weakness.sentence.startswith("synchronous_standby_names is '*' and needs 1, and 0 such standbys are stream")


def test_a_standby_that_commits_do_not_wait_for_is_noticed(shared_pair: Pair, engine: Engine) -> None:
    with set_on_primary(shared_pair, "synchronous_standby_names", ""):
        wait_until(
            lambda: bool(of_kind(engine, "asynchronous-standby")), within=20, otherwise=lambda: str(durability(engine))
        )
        [weakness] = of_kind(engine, "asynchronous-standby")
    assert not weakness.is_fault


def test_a_standby_that_has_not_caught_up_does_not_count(shared_pair: Pair, engine: Engine) -> None:
    """One that asks for the log and does not read it."""
    with shared_pair.standby_away():
        shared_pair.primary.execute(
            "SET synchronous_commit = local; "
            "CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 50000); DROP TABLE filler"
        )
        [(start,)] = shared_pair.primary.execute("SELECT pg_current_wal_lsn() - '0/0' - 40000000")
        with closing(
            psycopg2.connect(shared_pair.primary.dsn, connection_factory=PhysicalReplicationConnection)
        ) as slow:
            slow.cursor().start_replication(start_lsn=int(str(start)))
            wait_until(
                lambda: any("catchup" in standby for standby in standbys(engine)), within=20, otherwise=lambda: "It has"
            )
            [weakness] = of_kind(engine, "synchronous-standby-away")
    assert "0 such standbys are streaming" in weakness.sentence


def test_a_standby_says_that_it_is_one(shared_pair: Pair, engine: Engine) -> None:
    name = engine.url.database
    url = make_url(shared_pair.standby.admin_url).set(database=name)
    standby = create_engine(url.render_as_string(hide_password=False), application_name="tests")

    def has_tables() -> bool:
        with suppress(StoreUnavailableError), standby.connect() as connection:  # the database does not come at once
            return connection.scalar(sa.text("SELECT to_regclass('alembic_version')")) is not None
        return False

    wait_until(has_tables, within=20, otherwise=lambda: "The tables do not come.")
    [weakness] = of_kind(standby, "standby")
    facts = durability(standby).facts
    assert not weakness.is_fault
    assert (facts["in_recovery"], facts["timeline"]) == (True, durability(engine).facts["timeline"])
    standby.dispose()


def test_the_timeline_tells_that_a_standby_was_promoted(shared_pair: Pair, engine: Engine) -> None:
    before = durability(engine).facts["timeline"]
    engine.dispose()
    shared_pair.fail_over()
    shared_pair.rejoin()
    after = durability(engine).facts["timeline"]
    assert isinstance(before, int)
    assert after == before + 1
    assert of_kind(engine, "sequence-behind") == []
