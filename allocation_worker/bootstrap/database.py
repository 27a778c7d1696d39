"""The engine of each verb, and its end."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres import schema
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.bootstrap.addresses import check_database_files
from allocation_worker.config import Settings


def engine(settings: Settings, name: str) -> Engine:
    """The database; it connects when it is first used."""
    check_database_files(settings)
    return create_engine(
        settings.database_url,
        application_name=f"allocation-worker {name}",
        statement_timeout=settings.statement_timeout,
        lock_timeout=settings.lock_timeout,
    )


@contextmanager
def closing_connections(database: Engine) -> Iterator[Engine]:
    """Close its connections at the end of the block, and not when the garbage collector finds them."""
    try:
        yield database
    finally:
        database.dispose()


@contextmanager
def migrated_database(settings: Settings, verb: str) -> Iterator[Engine]:
    """The database of a verb, at the revision that this program needs."""
    with closing_connections(engine(settings, verb)) as database:
        schema.check(database)
        yield database
