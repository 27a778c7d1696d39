"""Wires `migrate`."""

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.bootstrap.addresses import check_database_files, database_url
from allocation_worker.bootstrap.database import closing_connections
from allocation_worker.config import Settings


def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the schema up to date.

    Returns:
        The revision found, None for an empty database, and the revision after the migration.
    """
    from allocation_worker.adapters.postgres import migrate as alembic  # noqa: PLC0415 - 10 MB that other verbs spare

    # A migration may take long, so neither client nor server limits its statements.
    check_database_files(settings)
    unhurried = create_engine(
        database_url(settings), application_name="allocation-worker migrate", statement_timeout=None
    )
    with closing_connections(unhurried):
        return alembic.migrate(unhurried)
