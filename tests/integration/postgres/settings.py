"""Settings of a server, changed for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from allocation_worker.testing.servers.local_database import LocalDatabase
from tests.integration.postgres.staging import until


def run(engine: Engine, *statements: str) -> None:
    """Run statements that cannot be in a transaction, and close all connections."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


@contextmanager
def changed(engine: Engine, settings: Mapping[str, str], *, restarting: LocalDatabase | None = None) -> Iterator[None]:
    """Change settings of the server meanwhile; restart it for them where that is needed."""

    def apply(*statements: str) -> None:
        run(engine, *statements, "SELECT pg_reload_conf()")
        if restarting is not None:
            restarting.stop()
            restarting.start()

    def are(expected: Mapping[str, str]) -> bool:
        with engine.connect() as connection:
            found = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in expected}
        return found == expected

    with engine.connect() as connection:
        before = {name: str(connection.scalar(sa.text(f"SHOW {name}"))) for name in settings}
    apply(*(f"ALTER SYSTEM SET {name} = '{value}'" for name, value in settings.items()))
    try:
        until(lambda: are(settings))
        yield
    finally:
        apply(*(f"ALTER SYSTEM RESET {name}" for name in settings))
        until(lambda: are(before))
        engine.dispose()
