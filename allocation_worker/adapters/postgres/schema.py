"""The schema: bring it up to date, or say that it is not."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from allocation_worker.service_layer.ports import StoreError

# Any number will do that no one else uses for an advisory lock in this database.
_MIGRATION_LOCK = 7_140_001


class SchemaOutdatedError(StoreError):
    """The tables are missing, or of another version than this program."""


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Bring the schema up to date; a second call at the same time waits for the first.

    Returns:
        The revision found and the one that stands now.
    """
    with engine.begin() as connection:
        # Whoever waits here waits for a whole migration, not for a row.
        connection.execute(sa.text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        before = _revision(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before, _head()


def check(engine: Engine) -> None:
    """See that the tables are those that this program knows.

    Raises:
        SchemaOutdatedError: They are not; the text says what to do.
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
