"""Wires `verify`, which checks the whole database."""

from allocation_worker.adapters.postgres import schema
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.verify import audit
from allocation_worker.bootstrap.addresses import check_database_files, database_url
from allocation_worker.bootstrap.database import closing_connections
from allocation_worker.config import Settings
from allocation_worker.service_layer.verify import Audit

# `verify` reads every table once. On a large database that takes longer than the limit for commands.
_STATEMENT_TIMEOUT = 3600


def verify(settings: Settings, *, stuck_after: float) -> Audit:
    """Check the tables against each other, in one read-only snapshot.

    Args:
        settings: The settings of the process.
        stuck_after: Seconds after which an unpublished event counts as stuck.
    """
    check_database_files(settings)
    database = create_engine(
        database_url(settings), application_name="allocation-worker verify", statement_timeout=_STATEMENT_TIMEOUT
    )
    with closing_connections(database):
        schema.check(database)
        return audit(
            database,
            history_days=settings.history_days,
            inbox_days=settings.inbox_days,
            stuck_after=stuck_after,
        )
