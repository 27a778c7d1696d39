"""Migrates the schema, by Alembic."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from allocation_contracts import AllocationError
from allocation_worker.adapters.postgres import moves
from allocation_worker.adapters.postgres.durability import check_writable
from allocation_worker.adapters.postgres.schema import (
    REVISION,
    VERSION_TABLE,
    Revision,
    find_revision,
    refuse_unless_served,
)

SCRIPTS = Path(__file__).parent / "migrations"

# The number is arbitrary. With the oid of the schema it is an advisory lock that nothing else uses.
_MIGRATION_LOCK = 7_140_001

# Alembic keeps `version_num`. Revision 0001 was kept in Alembic's own table, which that program still compares.
_CREATE_VERSION_TABLE = sa.text(f"""
    CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (
        version_num varchar(32) PRIMARY KEY, oldest_program varchar(32) NOT NULL DEFAULT '0001'
    )
""")
_ADOPT = sa.text(f"INSERT INTO {VERSION_TABLE} (version_num) SELECT version_num FROM alembic_version")  # noqa: S608 - a constant
_SERVES = sa.text(f"UPDATE {VERSION_TABLE} SET oldest_program = :oldest_program")  # noqa: S608 - as above
_LOCK = sa.text(f"""
    SELECT pg_advisory_xact_lock({_MIGRATION_LOCK},
        CAST(CAST(CAST(quote_ident(current_schema()) AS regnamespace) AS oid) AS integer))
""")

_EXPANDED, _MOVED = "0002", "0003"

# Without it, a commit that writes nothing would not wait.
_MAKE_DURABLE = sa.text("SELECT pg_logical_emit_message(true, 'allocation', '')")


class EncodingError(AllocationError):
    """The encoding of the database is not UTF8, so it cannot hold or compare every text."""


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
    if before is not None and before.number > REVISION:
        refuse_unless_served(before)
        return before.number, before.number
    moves.move_what_programs_need(engine)
    _upgrade(engine, _MOVED)
    _upgrade(engine, REVISION)
    moves.move_history(engine)
    return before.number if before else None, REVISION


def _upgrade(engine: Engine, target: str) -> Revision | None:
    """Run the scripts up to `target` in one transaction. Return the revision found before."""
    with engine.begin() as connection:
        check_writable(connection)
        _check_encoding(connection)
        connection.execute(_MAKE_DURABLE)
        # A concurrent call waits here for this transaction, so no timeout applies.
        connection.execute(sa.text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"))
        connection.execute(_LOCK)
        before = find_revision(connection)
        if before is None or before.number < target:
            _begin(connection)
            config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
            config.set_main_option("script_location", str(SCRIPTS))
            command.upgrade(config, target)
            oldest = ScriptDirectory.from_config(config).get_revision(target).module.oldest_program
            connection.execute(_SERVES, {"oldest_program": oldest})
        return before


def _check_encoding(connection: Connection) -> None:
    encoding = connection.scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise EncodingError(
            f"The database has the encoding {encoding}, so some texts would be refused; create one with ENCODING "
            "'UTF8', and move the rows there by pg_dump if there are any."
        )


def _begin(connection: Connection) -> None:
    tables = sa.inspect(connection)
    if not tables.has_table(VERSION_TABLE):
        connection.execute(_CREATE_VERSION_TABLE)
        if tables.has_table("alembic_version"):
            connection.execute(_ADOPT)
