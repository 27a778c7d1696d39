"""Wires `restored`."""

from allocation_worker.adapters.postgres import restored as adapter
from allocation_worker.adapters.postgres import schema
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.bootstrap.addresses import check_database_files
from allocation_worker.bootstrap.database import closing_connections
from allocation_worker.config import Settings
from allocation_worker.service_layer.restored import Restoration


def restored(settings: Settings) -> Restoration:
    """Let the service go on from a restored backup."""
    check_database_files(settings)
    # All products are written in one statement, which may take long.
    unhurried = create_engine(
        settings.database_url, application_name="allocation-worker restored", statement_timeout=None
    )
    with closing_connections(unhurried):
        schema.check(unhurried)
        return adapter.restored(unhurried)
