"""Looks at what `status` shows of the database, in one read-only transaction."""

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.statements import HELD, WAITS
from allocation_worker.service_layer.status import Backlog, Lines, Process

# The start of a session of another role is visible to members of pg_monitor only; then `seconds` is NULL.
_PROCESSES = sa.text("""
    SELECT replace(application_name, 'allocation-worker ', '') AS verb, count(*) AS sessions,
        CAST(extract(epoch FROM now() - min(backend_start)) AS float) AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'allocation-worker %' AND pid <> pg_backend_pid()
    GROUP BY application_name ORDER BY verb
""")
_OLDEST = sa.text("""
    SELECT CAST(extract(epoch FROM now() - created_at) AS float) FROM outbox_pages
    WHERE published_at IS NULL ORDER BY partition, id LIMIT 1
""")
# Each part reads an index of such lines alone.
LINES = sa.text(f"""
    SELECT waiting, CAST(extract(epoch FROM now() - since) AS float), held, overdue,
        CAST(extract(epoch FROM now() - due) AS float)
    FROM (SELECT count(*) AS waiting FROM order_lines WHERE {WAITS}) AS waiting,
        (SELECT min(waits_since) AS since FROM order_lines WHERE {WAITS}) AS oldest,
        (SELECT count(*) AS held FROM order_lines WHERE {HELD}) AS held,
        (SELECT count(*) AS overdue, min(held_until) AS due FROM order_lines WHERE {HELD} AND held_until < now()) AS due
""")  # noqa: S608 - constants
_UNROUTED = sa.text("SELECT type, count(*) FROM outbox_unrouted GROUP BY type ORDER BY type")


_PENDING = sa.text("SELECT coalesce(sum(count), 0) FROM outbox_pages WHERE partition = 0 AND published_at IS NULL")


def look(engine: Engine) -> tuple[list[Process], Backlog]:
    """Return the processes that are connected to the database, and the events that wait.

    Raises:
        StoreUnavailableError: The database is unreachable.
    """
    with engine.connect().execution_options(postgresql_readonly=True) as connection:
        processes = [
            Process(verb=verb, sessions=sessions, seconds=seconds)
            for verb, sessions, seconds in connection.execute(_PROCESSES)
            if verb != "status"
        ]
        unrouted = {type_: count for type_, count in connection.execute(_UNROUTED)}  # noqa: C416 - rows are no pairs to mypy
        return processes, Backlog(oldest=connection.scalar(_OLDEST), unrouted=unrouted)


def look_at_lines(engine: Engine) -> Lines:
    """Return the lines that wait or are held. Errors are those of `look`."""
    with engine.connect().execution_options(postgresql_readonly=True) as connection:
        return Lines(*connection.execute(LINES).one())


def count_pending(engine: Engine) -> int:
    """Return the number of events that wait to be published. Errors are those of `look`."""
    with engine.connect().execution_options(postgresql_readonly=True) as connection:
        return int(connection.scalar(_PENDING) or 0)
