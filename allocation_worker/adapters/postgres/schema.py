"""Migrates the schema, and checks its revision.

Revisions are numbered: a higher number is a newer one. The table `schema_revision` holds the revision of the schema and
that of the oldest program that may use it, so that programs of several versions can run beside each other.
"""

import time
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from allocation_contracts import AllocationError
from allocation_worker.adapters.postgres import moves
from allocation_worker.adapters.postgres.durability import check_writable
from allocation_worker.adapters.postgres.indexes import build_indexes
from allocation_worker.service_layer.ports import StoreError

# The number is arbitrary. With the oid of the schema it is an advisory lock that nothing else uses.
_MIGRATION_LOCK = 7_140_001
_INDEX_LOCK = 7_140_002
_LOOK_AGAIN = 0.2
_VERSION_TABLE = "schema_revision"

# Alembic keeps `version_num`. Revision 0001 was kept in Alembic's own table, which that program still compares.
_CREATE_VERSION_TABLE = sa.text(f"""
    CREATE TABLE IF NOT EXISTS {_VERSION_TABLE} (
        version_num varchar(32) PRIMARY KEY, oldest_program varchar(32) NOT NULL DEFAULT '0001'
    )
""")
_ADOPT = sa.text(f"INSERT INTO {_VERSION_TABLE} (version_num) SELECT version_num FROM alembic_version")  # noqa: S608 - a constant
_SERVES = sa.text(f"UPDATE {_VERSION_TABLE} SET oldest_program = :oldest_program")  # noqa: S608 - as above
_SCHEMA = "CAST(CAST(CAST(quote_ident(current_schema()) AS regnamespace) AS oid) AS integer)"
_LOCK = sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK}, {_SCHEMA})")
_LOCK_INDEXES = sa.text(f"SELECT pg_try_advisory_xact_lock({_INDEX_LOCK}, {_SCHEMA})")

_WAIT_UNLIMITED = sa.text("""
    SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0
""")

_EXPANDED, _MOVED = "0002", "0003"

# Without it, a commit that writes nothing would not wait.
_MAKE_DURABLE = sa.text("SELECT pg_logical_emit_message(true, 'allocation', '')")


class SchemaOutdatedError(StoreError):
    """The tables are missing, or have an older revision than this program needs."""


class SchemaTooNewError(AllocationError):
    """The tables have a newer revision, which this program does not know and may not use."""


class SchemaForeignError(StoreError):
    """The schema belongs to another program, which keeps its revision there in Alembic's own table."""


class EncodingError(AllocationError):
    """The encoding of the database is not UTF8, so it cannot hold or compare every text."""


class Revision(NamedTuple):
    """The revision of a schema, and the oldest program that may use it."""

    number: str
    oldest_program: str

    def serves(self, program: str) -> bool:
        """Return whether a program of that revision may use this schema."""
        return self.oldest_program <= program <= self.number


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Bring the schema up to date. Programs of the revisions that it serves may go on working meanwhile.

    A call that was interrupted can be repeated. A concurrent call waits for the first, or does its part.

    When it returns, the schema is on disk, and on a standby if there is a synchronous one: even if an earlier call has
    made it, whose wait for the standby was cancelled.

    Returns:
        The revision found, None for an empty database, and the revision after the migration.

    Raises:
        SchemaTooNewError: A newer program has migrated the schema to a revision that this one may not use.
        SchemaForeignError: The schema belongs to another program.
        EncodingError: The encoding of the database is not UTF8.
        StoreUnavailableError: The database is away or read-only, or the outcome of a commit is unknown.
    """
    before = _upgrade(engine, _EXPANDED)
    if before is not None and before.number > _head():
        _refuse_unless_served(before)
        return before.number, before.number
    moves.move_what_programs_need(engine)
    _upgrade(engine, _MOVED)
    _upgrade(engine, "head")
    _build_indexes(engine)
    moves.move_history(engine)
    return before.number if before else None, _head()


def check(engine: Engine) -> None:
    """Check that this program may use the schema.

    Raises:
        SchemaOutdatedError: It is too old; the text says what to do.
        SchemaTooNewError: It is too new, so a newer program is required.
        SchemaForeignError: It belongs to another program.
    """
    with engine.connect() as connection:
        found = _revision(connection)
    head = _head()
    if found is None or found.number < head:
        raise SchemaOutdatedError(
            f"The database schema is at {found.number if found else 'nothing'}, this program needs {head}; "
            "run `allocation-worker migrate`."
        )
    _refuse_unless_served(found)


def _refuse_unless_served(found: Revision) -> None:
    if not found.serves(_head()):
        raise SchemaTooNewError(
            f"The database schema is at {found.number}, which needs a program of revision {found.oldest_program} or "
            f"later, and this one is of {_head()}; start the newer program."
        )


def _upgrade(engine: Engine, target: str) -> Revision | None:
    """Run the scripts up to `target` in one transaction. Return the revision found before."""
    with engine.begin() as connection:
        check_writable(connection)
        _check_encoding(connection)
        connection.execute(_MAKE_DURABLE)
        # A concurrent call waits here for this transaction, so no timeout applies.
        connection.execute(_WAIT_UNLIMITED)
        connection.execute(_LOCK)
        before = _revision(connection)
        number = _head() if target == "head" else target
        if before is None or before.number < number:
            _begin(connection)
            config = _config()
            config.attributes["connection"] = connection
            config.attributes["version_table"] = _VERSION_TABLE
            command.upgrade(config, number)
            oldest = _scripts().get_revision(number).module.oldest_program
            connection.execute(_SERVES, {"oldest_program": oldest})
        return before


def _build_indexes(engine: Engine) -> None:
    """Build them in a session of their own, while this one keeps a concurrent call from doing so."""
    with engine.begin() as connection:
        connection.execute(_WAIT_UNLIMITED)
        # Not one statement that waits: the build would wait for its snapshot.
        while not connection.scalar(_LOCK_INDEXES):
            time.sleep(_LOOK_AGAIN)
        build_indexes(engine)


def _check_encoding(connection: Connection) -> None:
    encoding = connection.scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise EncodingError(
            f"The database has the encoding {encoding}, so some texts would be refused; create one with ENCODING "
            "'UTF8', and move the rows there by pg_dump if there are any."
        )


def _begin(connection: Connection) -> None:
    tables = sa.inspect(connection)
    if not tables.has_table(_VERSION_TABLE):
        connection.execute(_CREATE_VERSION_TABLE)
        if tables.has_table("alembic_version"):
            connection.execute(_ADOPT)


def _revision(connection: Connection) -> Revision | None:
    tables = sa.inspect(connection)
    if tables.has_table(_VERSION_TABLE):
        row = connection.execute(sa.text(f"SELECT version_num, oldest_program FROM {_VERSION_TABLE}")).one_or_none()  # noqa: S608 - a constant
        return None if row is None else Revision(*row)
    if not tables.has_table("alembic_version"):
        return None
    numbers = connection.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
    if not numbers:
        return None
    # Only revision 0001 of ours was kept in this table, and it has an inbox.
    if list(numbers) != ["0001"] or not tables.has_table("inbox"):
        raise SchemaForeignError(
            f"The schema has a table alembic_version of another program, at revision {', '.join(numbers)}; give the "
            "worker a schema of its own, by ?options=-csearch_path%3DNAME in ALLOCATION_DATABASE_URL."
        )
    return Revision("0001", "0001")


def _head() -> str:
    return _scripts().get_current_head() or ""


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
