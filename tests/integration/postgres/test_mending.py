"""What is wrong with the database and no message can cause is waited for: told, held, and done once it is mended."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import make_url
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.service_layer.outcomes import Done, Retry
from allocation_worker.service_layer.ports import StoreUnavailableError, StoreUnfitError
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, order, process
from tests.integration.postgres.store import PostgresStore, migrated_engine


@pytest.fixture
def own(database_url: str) -> Iterator[PostgresStore]:
    """A database of the test's own, in which one order waits for the stock that is there."""
    store = PostgresStore(migrated_engine(database_url))
    process(store.unit_of_work, message(create("b", 10)))
    yield store
    store.engine.dispose()


@pytest.fixture
def limited(own: PostgresStore, database_url: str) -> Iterator[PostgresStore]:
    """The same for a role that has every grant at first."""
    user = f"limited_{make_url(database_url).database}"
    own.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'hush'")
    own.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}")
    own.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {user}")
    url = make_url(database_url).set(username=user, password="hush").render_as_string(hide_password=False)
    store = PostgresStore(create_engine(url, application_name="tests"))
    yield store
    store.engine.dispose()
    own.execute(f"DROP OWNED BY {user}")
    own.execute(f"DROP ROLE {user}")


@pytest.mark.parametrize(
    ("breaks", "mends", "told"),
    [
        ("ALTER TABLE batches RENAME TO b", "ALTER TABLE b RENAME TO batches", r'relation "batches" does not exist'),
        (
            "ALTER TABLE order_lines RENAME qty TO q",
            "ALTER TABLE order_lines RENAME q TO qty",
            r"column .*qty.* does not exist",
        ),
        (
            "ALTER TABLE inbox_entries RENAME TO i",
            "ALTER TABLE i RENAME TO inbox_entries",
            r'relation "inbox_entries" does not exist',
        ),
    ],
)
def test_a_table_or_column_that_is_missing_for_a_while_costs_no_message(
    own: PostgresStore, breaks: str, mends: str, told: str
) -> None:
    waiting = [message(order("o-1")), message(order("o-2"))]
    own.execute(breaks)
    with pytest.raises(StoreUnfitError, match=told) as error:
        process(own.unit_of_work, *waiting)
    assert "run `allocation-worker migrate`" in str(error.value)
    own.execute(mends)
    assert process(own.unit_of_work, *waiting) == [Done(), Done()]


@pytest.mark.parametrize(
    ("what", "privilege", "grant"),
    [
        ("TABLE order_lines", "INSERT", "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE order_lines TO {user}"),
        ("TABLE inbox_entries", "SELECT", "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE inbox_entries TO {user}"),
        ("TABLE outbox_pages", "INSERT", "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE outbox_pages TO {user}"),
    ],
)
def test_a_role_that_lacks_one_grant_is_told_which_and_who_it_is(
    limited: PostgresStore, own: PostgresStore, what: str, privilege: str, grant: str
) -> None:
    user = limited.engine.url.username
    waiting = message(order("o"))
    own.execute(f"REVOKE {privilege} ON {what} FROM {user}")
    with pytest.raises(StoreUnfitError) as error:
        process(limited.unit_of_work, waiting)
    assert f"run {grant.format(user=user)}." in str(error.value)
    own.execute(grant.format(user=user))
    assert process(limited.unit_of_work, waiting) == [Done()]


def test_a_sequence_behind_its_table_is_told_as_that_and_costs_no_message(own: PostgresStore) -> None:
    """As after a logical copy, which takes the rows and not the sequences."""
    own.write_pages(["allocated.v1"], ["allocated.v1"])
    own.execute("SELECT setval(pg_get_serial_sequence('outbox_pages', 'id'), 1)")
    waiting = message(order("o"))
    with pytest.raises(StoreUnfitError, match=r"^The sequence of outbox_pages\.id is behind its table") as error:
        process(own.unit_of_work, waiting)
    assert "run `allocation-worker verify`" in str(error.value)
    own.execute("SELECT setval(pg_get_serial_sequence('outbox_pages', 'id'), max(id)) FROM outbox_pages")
    assert process(own.unit_of_work, waiting) == [Done()]


def _raised(engine: Engine, code: str) -> Exception:
    raise_it = f"DO $$ BEGIN RAISE EXCEPTION 'staged' USING ERRCODE = '{code}'; END $$"
    with engine.connect() as connection, pytest.raises(StoreUnavailableError, match="staged") as error:
        connection.execute(sa.text(raise_it))
    return error.value


@pytest.mark.parametrize("code", ["54000", "54001", "0A000", "42P01", "55000", "XX000", "XX001", "F0000", "21000"])
def test_what_a_message_cannot_cause_is_waited_for_whatever_it_is(engine: Engine, code: str) -> None:
    error = _raised(engine, code)
    assert isinstance(error, StoreUnfitError)
    assert str(error).startswith("The database refuses a statement (")


def test_what_a_message_can_cause_is_its_own_fault(own: PostgresStore) -> None:
    own.execute("ALTER TABLE order_lines ADD CHECK (orderid <> 'cursed')")
    [cursed, good] = process(own.unit_of_work, message(order("cursed")), message(order("o")))
    assert isinstance(cursed, Retry)
    assert good == Done()
