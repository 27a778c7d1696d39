"""Build the indexes of large tables beside running programs, which write meanwhile."""

import time
from typing import NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters.postgres.statements import HELD, PLACE, UNSHIPPED, WAITS

log = structlog.get_logger()


class Index(NamedTuple):
    """An index of `order_lines`.

    Attributes:
        name: Its name.
        definition: What follows `ON order_lines` in its statement.
        replaces: The index that it makes superfluous, if any.
    """

    name: str
    definition: str
    replaces: str | None = None


# Programs of 0004 and before read a batch's lines by sequence: from now on by sorting them.
INDEXES = (
    Index(
        "unshipped_lines_of_batch",
        f"(batchref, {PLACE}) WHERE {UNSHIPPED}",
        replaces="lines_of_batch",
    ),
    # With the quantity, so that lines too large for what was freed are passed over without being read.
    Index(
        "waiting_lines_in_turn",
        f"(sku, (-priority), {PLACE}, qty) WHERE {WAITS}",
        replaces="waiting_lines",
    ),
    Index("waiting_lines_by_time", f"(waits_since) WHERE {WAITS}"),
    Index("held_lines", f"(held_until) WHERE {HELD}"),
    Index("held_lines_of_batch", f"(batchref, {PLACE}) WHERE {HELD}"),
)

_LOOK_AGAIN = 0.2

# The number is arbitrary. With the oid of the schema it is an advisory lock that nothing else uses.
_LOCK = sa.text("""
    SELECT pg_try_advisory_xact_lock(7140002,
        CAST(CAST(CAST(quote_ident(current_schema()) AS regnamespace) AS oid) AS integer))
""")
_UNLIMITED = sa.text("SET LOCAL idle_in_transaction_session_timeout = 0")

_FOUND = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def build_indexes(engine: Engine) -> None:
    """Build what is missing, and drop what is superfluous. A concurrent call waits for the first.

    It waits for every transaction under way, so an engine without limits suits it best.
    """
    with engine.begin() as guard:
        guard.execute(_UNLIMITED)
        # Not one statement that waits: the build of the other call would wait for its snapshot.
        while not guard.scalar(_LOCK):
            time.sleep(_LOOK_AGAIN)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for index in INDEXES:
                _build(connection, index)


def _build(connection: Connection, index: Index) -> None:
    valid = connection.scalar(_FOUND, {"name": index.name})
    if valid is False:  # a call was interrupted
        connection.execute(sa.text(f"DROP INDEX CONCURRENTLY {index.name}"))
    if not valid:
        connection.execute(sa.text(f"CREATE INDEX CONCURRENTLY {index.name} ON order_lines {index.definition}"))
        log.info("index_built", index=index.name)
    if index.replaces:
        connection.execute(sa.text(f"DROP INDEX CONCURRENTLY IF EXISTS {index.replaces}"))
