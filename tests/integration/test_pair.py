"""The pair of database servers that tests of a failover use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url

from allocation_worker.testing.servers.programs import missing_programs, private_folder
from allocation_worker.testing.servers.reaper import processes_of
from allocation_worker.testing.waiting import wait_until
from harness.pair import Pair, pair

pytestmark = pytest.mark.skipif(bool(missing_programs()), reason="PostgreSQL is not installed")


@pytest.fixture
def database(shared_pair: Pair) -> Iterator[Pair]:
    """A pair whose table `words` is empty."""
    shared_pair.primary.execute("CREATE TABLE IF NOT EXISTS words (word text)")
    shared_pair.primary.execute("TRUNCATE words")
    yield shared_pair
    assert shared_pair.primary.running
    shared_pair.wait_for_standby()


def connect(database: Pair) -> psycopg2.extensions.connection:
    dsn = make_url(database.admin_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(dsn, application_name="writer")
    connection.autocommit = True
    return connection


def write(database: Pair, word: str) -> list[str]:
    """Write through the address of both, and return the notices."""
    with closing(connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO words VALUES (%s)", [word])
        return list(connection.notices)


def words(database: Pair) -> list[object]:
    with closing(connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT word FROM words ORDER BY word")
        return [word for (word,) in cursor.fetchall()]


def until_standby_shows(database: Pair, query: str, *values: object, rows: list[str]) -> None:
    """Wait for the standby, which has a commit on disk before it shows it."""
    wait_until(
        lambda: database.standby.execute(query, *values) == [(row,) for row in rows],
        within=20,
        otherwise=lambda: f"The standby shows {database.standby.execute(query, *values)}.",
    )


def test_a_new_database_is_on_both(database: Pair) -> None:
    url = database.new_database()
    name = make_url(url).database
    until_standby_shows(database, "SELECT count(*)::text FROM pg_database WHERE datname = %s", name, rows=["1"])
    database.drop(url)


def test_what_was_committed_survives_the_primary(database: Pair) -> None:
    write(database, "first")
    former = database.primary

    database.fail_over()

    assert not processes_of(former.folder)
    assert database.primary is not former
    assert words(database) == ["first"]
    database.rejoin()
    write(database, "second")
    until_standby_shows(database, "SELECT word FROM words ORDER BY word", rows=["first", "second"])


def test_a_server_that_failed_over_can_do_so_again_and_again(database: Pair) -> None:
    for number in range(3):
        write(database, str(number))
        database.fail_over()
        database.rejoin()
    assert words(database) == ["0", "1", "2"]


def test_a_commit_waits_while_the_standby_is_away(database: Pair) -> None:
    with ThreadPoolExecutor() as threads:
        with database.standby_away():
            written = threads.submit(write, database, "waits")
            database.wait_for_commit("writer")
            assert not written.done()
        assert written.result(20) == []


def test_a_commit_whose_wait_is_cancelled_is_lost_in_a_failover(database: Pair) -> None:
    with ThreadPoolExecutor() as threads, database.standby_away():
        written = threads.submit(write, database, "lost")
        database.cancel_commit("writer")
        [notice] = written.result(20)
        assert "might not have been replicated" in notice
        assert words(database) == ["lost"]
        database.fail_over()
        assert words(database) == []
    database.rejoin()
    assert words(database) == []


def test_a_crash_shows_what_no_standby_has(database: Pair) -> None:
    with ThreadPoolExecutor() as threads, database.standby_away():
        written = threads.submit(write, database, "shown")
        database.wait_for_commit("writer")
        assert words(database) == []
        database.kill_backend("writer")
        with pytest.raises(psycopg2.OperationalError):
            written.result(20)
        assert words(database) == ["shown"]
        database.fail_over()
    assert words(database) == []
    database.rejoin()


def test_a_planned_switchover_leaves_the_sessions_on_a_server_that_is_read_only(database: Pair) -> None:
    write(database, "before")
    with closing(connect(database)) as stays, stays.cursor() as cursor:
        database.switch_over()
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            cursor.execute("INSERT INTO words VALUES ('there')")
        with ThreadPoolExecutor() as threads:
            written = threads.submit(write, database, "after")
            database.rejoin()
            written.result(20)
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT 1")
    assert words(database) == ["after", "before"]


def test_a_frozen_primary_is_fenced_before_it_goes_on(database: Pair) -> None:
    write(database, "before")
    former = database.primary
    former.freeze()
    database.promote()
    former.kill()
    database.rejoin()
    assert words(database) == ["before"]


def test_a_thawed_server_goes_on(database: Pair) -> None:
    database.standby.freeze()
    with ThreadPoolExecutor() as threads:
        written = threads.submit(write, database, "waits")
        database.wait_for_commit("writer")
        database.standby.thaw()
        written.result(20)
    assert words(database) == ["waits"]


def test_both_servers_can_be_stopped_and_started(database: Pair) -> None:
    write(database, "before")
    database.stop("immediate")
    with pytest.raises(psycopg2.OperationalError):
        connect(database)
    database.start()
    assert words(database) == ["before"]


def test_nothing_runs_after_the_end() -> None:
    with private_folder() as folder:
        with pair(folder) as database:
            database.primary.freeze()
        assert not processes_of(Path(folder))
