"""Deletes expired inbox and outbox rows in small batches."""

import sqlalchemy as sa
from sqlalchemy.engine import Engine

ROWS_AT_A_TIME = 1000
PAGES_AT_A_TIME = 100
"""A page may hold 1,000 events, in some fifty rows of its TOAST table."""

# Ordered by id, which follows age. A search by created_at becomes slow: once new rows reuse the blocks of old ones, the
# BRIN index matches every block.
PRUNE_PAGES = sa.text("""
    DELETE FROM outbox_pages WHERE id = ANY(ARRAY(
        SELECT id FROM (SELECT * FROM outbox_pages ORDER BY id LIMIT :limit) AS oldest
        WHERE created_at < now() - make_interval(days => :days) AND published_at IS NOT NULL))
""")

PRUNE_UNROUTED = sa.text("""
    DELETE FROM outbox_unrouted WHERE id = ANY(ARRAY(
        SELECT id FROM (SELECT * FROM outbox_unrouted ORDER BY id LIMIT :limit) AS oldest
        WHERE created_at < now() - make_interval(days => :days)))
""")

PRUNE_INBOX = sa.text("""
    DELETE FROM inbox_entries WHERE key IN (
        SELECT key FROM inbox_entries WHERE received_at < now() - make_interval(days => :days)
        ORDER BY key LIMIT :limit)
""")


class History:
    """Past events and received message_ids.

    Args:
        engine: The database.
        history_days: The days to keep an event that was published, or that no queue is bound for. Events that wait to
            be published are never deleted.
        inbox_days: The days to keep a message_id.
    """

    def __init__(self, engine: Engine, *, history_days: int, inbox_days: int) -> None:
        self._engine = engine
        self._work = (
            (PRUNE_PAGES, history_days, PAGES_AT_A_TIME),
            (PRUNE_UNROUTED, history_days, ROWS_AT_A_TIME),
            (PRUNE_INBOX, inbox_days, ROWS_AT_A_TIME),
        )

    def prune_some(self) -> bool:
        """Delete at most some rows of each table. Return True if there may be more."""
        with self._engine.begin() as connection:
            full = [
                connection.execute(statement, {"days": days, "limit": limit}).rowcount == limit
                for statement, days, limit in self._work
            ]
        return any(full)
