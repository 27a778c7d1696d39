"""Reads what the guarantees rest on, from the server's settings and its catalog."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters.postgres.watchdog import watched_connection
from allocation_worker.adapters.postgres.weaknesses import MISSING_TABLES, SERVER, STANDBYS, TABLES, Condition
from allocation_worker.service_layer.durability import Durability, Weakness
from allocation_worker.service_layer.ports import (
    StoreContentionError,
    StoreError,
    StoreUnavailableError,
    StoreUnfitError,
)

_FACTS = sa.text(f"""
    SELECT current_setting('server_version') AS server_version,
        current_setting('fsync') AS fsync,
        current_setting('full_page_writes') AS full_page_writes,
        current_setting('synchronous_commit') AS synchronous_commit,
        current_setting('synchronous_standby_names') AS synchronous_standby_names,
        CASE WHEN sees_standbys THEN ARRAY(
            SELECT concat_ws(' ', application_name, state, sync_state) FROM pg_stat_replication ORDER BY 1
        ) END AS standbys,
        current_setting('wal_level') AS wal_level,
        current_setting('data_checksums') AS data_checksums,
        pg_is_in_recovery() AS in_recovery,
        CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver)
            ELSE CAST(CAST('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8) AS bit(32)) AS integer)
        END AS timeline
    FROM ({STANDBYS}) AS standbys
""")  # noqa: S608 - constants of ours


def durability(engine: Engine) -> Durability:
    """Return what the guarantees rest on, as a session of this engine has it.

    Raises:
        StoreUnavailableError: The database is away.
    """
    with engine.connect() as connection:
        return examine(connection)


def check_writable(connection: Connection) -> None:
    """Check that this session can write.

    Raises:
        StoreUnavailableError: The server is a standby, or was demoted to one.
    """
    if connection.scalar(sa.text("SHOW transaction_read_only")) == "on":
        raise StoreUnavailableError(
            "The database is read-only here: it is a standby, or was demoted; look at ALLOCATION_DATABASE_URL."
        )


def examine(connection: Connection) -> Durability:
    """Return what the guarantees rest on, within the transaction of this connection. Nothing is written.

    Raises:
        StoreUnavailableError: The database is away.
    """
    facts = connection.execute(_FACTS).one()._asdict()
    of_server = _weaknesses(connection, SERVER)
    of_tables = _weaknesses(connection, [MISSING_TABLES]) or _weaknesses(connection, TABLES)
    return Durability(facts=facts, weaknesses=[*of_server, *of_tables])


def _weaknesses(connection: Connection, conditions: Sequence[Condition]) -> list[Weakness]:
    # The driver was told when it connected, so this asks nobody.
    version = watched_connection(connection).server_version
    return [found for each in conditions if version >= each.since for found in _apply(connection, each)]


def _apply(connection: Connection, condition: Condition) -> Iterator[Weakness]:
    try:
        with connection.begin_nested():
            rows = [row._asdict() for row in connection.execute(sa.text(condition.sql))]
    except StoreError as error:
        passes = isinstance(error, StoreUnavailableError | StoreContentionError)
        if passes and not isinstance(error, StoreUnfitError):
            raise
        yield Weakness(
            kind=condition.kind,
            sentence=f"Whether there is a case of {condition.kind} is unknown: {error}",
            is_fault=False,
        )
        return
    for row in rows:
        yield Weakness(kind=condition.kind, sentence=condition.sentence.format_map(row), is_fault=condition.is_fault)
