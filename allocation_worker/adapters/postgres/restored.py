"""Tells a database that it was restored from a backup: event numbers go on beyond all that may have been given out.

The backup is older than what was published last. Without this, the next events would have the numbers and message_ids
of events that subscribers have already seen, and they would drop them as repeats.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_contracts import AllocationError
from allocation_worker.adapters.postgres.durability import check_writable
from allocation_worker.service_layer.restored import Restoration

BEYOND = 1_000_000_000
"""No product has had so many events since the backup."""

# Another role sees no names of applications.
_CONNECTED = sa.text("""
    SELECT DISTINCT application_name FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND application_name ~ '^allocation-worker (consume|relay|project)'
    ORDER BY application_name
""")
_LOCK = sa.text("SET LOCAL lock_timeout = '10s'; LOCK TABLE products, restorations IN EXCLUSIVE MODE")
_HIGHEST = sa.text("""
    SELECT greatest((SELECT max(sequence) FROM products), (SELECT max(sequence) FROM restorations), 0)
""")
_INSERT = sa.text("""
    INSERT INTO restorations (number, sequence) SELECT count(*) + 1, :sequence FROM restorations
    RETURNING number
""")
_UPDATE = sa.text("UPDATE products SET sequence = :sequence")
_NEWER_PROGRAMS_ONLY = sa.text("""
    UPDATE schema_revision SET oldest_program = greatest(oldest_program, '0004')
""")


class StillConnectedError(AllocationError):
    """Processes of the service are connected to the database."""


def restored(engine: Engine) -> Restoration:
    """Let every product go on from one sequence, beyond all that were given out. Repeating it is harmless.

    Raises:
        StillConnectedError: Processes of the service are connected.
        StoreUnavailableError: The database is away or read-only.
    """
    with engine.begin() as connection:
        check_writable(connection)
        _check_that_nobody_works(connection)
        connection.execute(_LOCK)
        highest: int = connection.scalar(_HIGHEST) or 0
        sequence = (highest // BEYOND + 2) * BEYOND
        number: int = connection.scalar(_INSERT, {"sequence": sequence}) or 0
        products = connection.execute(_UPDATE, {"sequence": sequence}).rowcount
        connection.execute(_NEWER_PROGRAMS_ONLY)
    return Restoration(number=number, sequence=sequence, products=products)


def _check_that_nobody_works(connection: Connection) -> None:
    if names := connection.scalars(_CONNECTED).all():
        raise StillConnectedError(
            f"Processes are connected to the database ({', '.join(names)}); stop consume, relay and project, then run "
            "`allocation-worker restored` again."
        )
