"""Using up what a server has to give."""

from contextlib import ExitStack, closing

import psycopg2

from allocation_worker.testing.waiting import wait_until

_ALL_ARE_TAKEN = """
SELECT count(*) = current_setting('max_connections')::int
   AND NOT bool_or(application_name IN ('allocation-worker consume', 'allocation-worker relay'))
  FROM pg_stat_activity WHERE backend_type = 'client backend'
"""


def take_every_connection(dsn: str, hogs: ExitStack) -> None:
    """Connect until no place is left; a backend whose client has gone keeps its own until it notices."""
    watcher = hogs.enter_context(closing(psycopg2.connect(dsn)))
    watcher.autocommit = True

    def none_is_left() -> bool:
        _take_those_that_are_free(dsn, hogs)
        with watcher.cursor() as cursor:
            cursor.execute(_ALL_ARE_TAKEN)
            return bool(cursor.fetchall()[0][0])

    wait_until(none_is_left, within=30, otherwise=lambda: "The processes keep connections, or others come and go.")


def _take_those_that_are_free(dsn: str, hogs: ExitStack) -> None:
    while True:
        try:
            hogs.enter_context(closing(psycopg2.connect(dsn)))
        except psycopg2.OperationalError as error:
            if "too many clients" not in str(error):
                raise
            return
