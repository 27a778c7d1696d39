"""Creates and disposes of the database engine of each verb."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres import schema
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.bootstrap.addresses import check_database_files, database_url
from allocation_worker.config import Settings


def engine(settings: Settings, name: str) -> Engine:
    """Return an engine. It connects when it is first used.

    Args:
        settings: The settings of the process.
        name: The name of the verb, which PostgreSQL shows as the application's.

    Raises:
        SettingsError: A file in the address of the database cannot be read.
    """
    check_database_files(settings)
    return create_engine(
        database_url(settings),
        application_name=f"allocation-worker {name}",
        statement_timeout=settings.statement_timeout,
        lock_timeout=settings.lock_timeout,
    )


@contextmanager
def closing_connections(database: Engine) -> Iterator[Engine]:
    """Close the connections of an engine at the end of the block."""
    try:
        yield database
    finally:
        database.dispose()


@contextmanager
def migrated_database(settings: Settings, verb: str) -> Iterator[Engine]:
    """Yield an engine whose schema has the revision that this program needs.

    Raises:
        SchemaOutdatedError: The schema has another revision.
    """
    with closing_connections(engine(settings, verb)) as database:
        schema.check(database)
        yield database
