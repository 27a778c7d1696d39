"""Move rows from the tables of revision 0001 into those of 0002, in bounded transactions.

Programs of revision 0001 may go on working: what they write arrives in the new tables by triggers. Unpublished events
are moved first. Their relay then has nothing left but what it has fetched, which is published once more.

A page holds rows that follow each other, so that the ids of the view `events` keep the order of the rows. Each row
keeps its time; `published_at` of a page is that of its last event.
"""

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection, Engine
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from allocation_worker.adapters.postgres.page import CHARACTERS_A_PAGE, EVENTS_A_PAGE, PLACES
from allocation_worker.service_layer.ports import StoreContentionError

log = structlog.get_logger()

ROWS_AT_A_TIME = 10_000
SECONDS_A_PAGE = 60
"""`explain` looks for an event of a moved page among the pages of this time."""

_ATTEMPTS = 20
_TELL_EVERY = 10.0

_PENDING = "published_at IS NULL AND returned_at IS NULL"
_UNROUTED = "published_at IS NULL AND returned_at IS NOT NULL"
_PUBLISHED = "published_at IS NOT NULL"

_TAKE = """
    WITH batch AS (
        DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE {which} AND id > :after ORDER BY id LIMIT :limit FOR UPDATE)
        RETURNING id, created_at, published_at, returned_at, type, outbox_line(outbox) AS line
    )
"""

# The sums only grow, so rows with the same ones follow each other.
_TO_PAGES = f"""
    {_TAKE}, neighbours AS (
        SELECT *, lag(id) OVER by_id AS previous, lag(period) OVER by_id AS period_before
        FROM batch, LATERAL (SELECT floor(extract(epoch FROM created_at) / {SECONDS_A_PAGE})) AS at (period)
        WINDOW by_id AS (ORDER BY id)
    ), numbered AS (
        SELECT *, (row_number() OVER by_id - 1) / {EVENTS_A_PAGE} AS full_pages,
            sum(length(line)) OVER by_id / {CHARACTERS_A_PAGE} AS large_pages,
            count(*) FILTER (WHERE period <> period_before OR id > previous + 1 AND (
                EXISTS (SELECT FROM outbox_pages AS page WHERE page.id > previous AND page.id < neighbours.id)
                OR EXISTS (SELECT FROM outbox WHERE id > previous AND id < neighbours.id AND NOT ({{which}}))
            )) OVER by_id AS breaks
        FROM neighbours WINDOW by_id AS (ORDER BY id)
    ), pages AS (
        INSERT INTO outbox_pages (id, created_at, published_at, count, events) OVERRIDING SYSTEM VALUE
        SELECT min(id), min(created_at), max(published_at), count(*), string_agg(line, E'\\n' ORDER BY id)
        FROM numbered GROUP BY full_pages, large_pages, breaks
    )
    SELECT count(*), max(id) FROM batch
"""  # noqa: S608 - the numbers are constants

MOVE_PENDING = sa.text(_TO_PAGES.format(which=_PENDING))
MOVE_PUBLISHED = sa.text(_TO_PAGES.format(which=_PUBLISHED))

# A page of its own for each, so that its id never changes.
MOVE_UNROUTED = sa.text(f"""
    {_TAKE.format(which=_UNROUTED)}, pages AS (
        INSERT INTO outbox_pages (id, created_at, published_at, count, events) OVERRIDING SYSTEM VALUE
        SELECT id, created_at, returned_at, 1, line FROM batch
    ), unrouted AS (
        INSERT INTO outbox_unrouted (id, created_at, type, event)
        SELECT id * {PLACES}, created_at, type, line FROM batch
    )
    SELECT count(*), max(id) FROM batch
""")  # noqa: S608 - as above

# A repeat of a message that was not yet moved has made an entry with its own fingerprint, which may be another.
MOVE_INBOX = sa.text("""
    WITH batch AS (
        DELETE FROM inbox WHERE message_id IN (
            SELECT message_id FROM inbox WHERE message_id > :after ORDER BY message_id LIMIT :limit FOR UPDATE)
        RETURNING *
    ), entries AS (
        INSERT INTO inbox_entries AS known (key, received_at, deliveries, fingerprint)
        SELECT inbox_key(message_id), received_at, deliveries, fingerprint FROM batch
        ON CONFLICT (key) DO UPDATE SET received_at = excluded.received_at, fingerprint = excluded.fingerprint,
            deliveries = greatest(known.deliveries, excluded.deliveries)
    )
    SELECT count(*), max(message_id) FROM batch
""")

UNPUBLISHED = sa.text("SELECT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)")
ANALYZE = sa.text("ANALYZE outbox_pages, outbox_unrouted, inbox_entries")

T = TypeVar("T")


def move_what_programs_need(engine: Engine) -> None:
    """Move what decides about new events and messages: the unpublished events, and the inbox."""
    while _transact(engine, lambda connection: connection.execute(UNPUBLISHED).scalar_one()):
        _transact(engine, _move_pending)
        _move(engine, MOVE_UNROUTED, "unrouted events", first=0)
    _move(engine, MOVE_INBOX, "inbox", first="")
    _transact(engine, lambda connection: connection.execute(ANALYZE))


def move_history(engine: Engine) -> None:
    """Move the published events. Until then, the view `events` shows them in their rows."""
    _move(engine, MOVE_PUBLISHED, "published events", first=0)


def _move_pending(connection: Connection) -> None:
    """In one transaction: a relay of revision 0001 must not publish an event before one of its SKU that was moved."""
    _count_moved("pending events", lambda after: _move_some(connection, MOVE_PENDING, after), first=0)


def _move(engine: Engine, statement: sa.TextClause, what: str, first: int | str) -> None:
    def move_some(after: int | str) -> tuple[int, int | str]:
        return _transact(engine, lambda connection: _move_some(connection, statement, after))

    _count_moved(what, move_some, first)


def _move_some(connection: Connection, statement: sa.TextClause, after: int | str) -> tuple[int, int | str]:
    connection.execute(sa.text("SET LOCAL allocation.moving = 'on'"))
    moved, last = connection.execute(statement, {"after": after, "limit": ROWS_AT_A_TIME}).one()
    return moved, last


def _count_moved(what: str, move_some: Callable[[int | str], tuple[int, int | str]], first: int | str) -> None:
    total, after, due = 0, first, monotonic() + _TELL_EVERY
    while True:
        moved, last = move_some(after)
        total += moved
        if moved < ROWS_AT_A_TIME:
            break
        after = last
        if monotonic() > due:
            log.info("moving", what=what, rows=total)
            due = monotonic() + _TELL_EVERY
    if total:
        log.info("moved", what=what, rows=total)


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    def once() -> T:
        with engine.begin() as connection:
            return work(connection)

    patience = Retrying(
        retry=retry_if_exception_type(StoreContentionError),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        stop=stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )
    return patience(once)
