"""Migrates the schema, and checks its revision."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters.postgres.durability import check_writable
from allocation_worker.service_layer.ports import StoreError

# The number is arbitrary. Nothing else may use it for an advisory lock in this database.
_MIGRATION_LOCK = 7_140_001

# Else a commit that writes nothing would not wait.
_MAKE_DURABLE = sa.text("SET LOCAL synchronous_commit = on; SELECT pg_logical_emit_message(true, 'allocation', '')")


class SchemaOutdatedError(StoreError):
    """The tables are missing, or have another revision than this program needs."""


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Bring the schema up to date. A concurrent call waits for the first.

    When it returns, the schema is on disk, and on a standby if there is a synchronous one: even if an earlier call has
    made it, whose wait for the standby was cancelled.

    Returns:
        The revision found, None for an empty database, and the revision after the migration.

    Raises:
        StoreUnavailableError: The database is away or read-only, or the outcome of the commit is unknown.
    """
    with engine.begin() as connection:
        check_writable(connection)
        connection.execute(_MAKE_DURABLE)
        # A concurrent call waits here for a whole migration, so no timeout applies.
        connection.execute(sa.text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        before = _revision(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before, _head()


def check(engine: Engine) -> None:
    """Check that the schema has the revision that this program needs.

    Raises:
        SchemaOutdatedError: It has another; the text says what to do.
    """
    with engine.connect() as connection:
        found = _revision(connection)
    if found != _head():
        raise SchemaOutdatedError(
            f"The database schema is at {found or 'nothing'}, this program needs {_head()}; "
            "run `allocation-worker migrate`."
        )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _head() -> str:
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
