"""The database and the broker: reached, and set up."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres import schema
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.rabbitmq import topology
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


def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the schema up to date; the revision found, and the one that stands now."""
    # It takes as long as it takes: on neither side a limit to a statement.
    check_database_files(settings)
    unhurried = create_engine(
        settings.database_url, application_name="allocation-worker migrate", statement_timeout=None
    )
    with closing_connections(unhurried):
        return schema.migrate(unhurried)


def declare_topology(settings: Settings) -> None:
    """Declare everything that the wire contract names."""
    topology.declare(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)


def check_topology(settings: Settings) -> None:
    """See that the exchanges and queues stand."""
    topology.check(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)
