"""Deletes expired inbox and outbox rows in small batches."""

import sqlalchemy as sa
from sqlalchemy.engine import Engine

ROWS_AT_A_TIME = 1000

# Ordered by id, which follows age. A search by created_at becomes slow: once new rows reuse the pages of old ones, the
# BRIN index matches every page.
PRUNE_OUTBOX = sa.text("""
    DELETE FROM outbox WHERE id = ANY(ARRAY(
        SELECT id FROM (SELECT * FROM outbox ORDER BY id LIMIT :limit) AS oldest
        WHERE created_at < now() - make_interval(days => :days)
            AND (published_at IS NOT NULL OR returned_at IS NOT NULL)))
""")

PRUNE_INBOX = sa.text("""
    DELETE FROM inbox WHERE message_id IN (
        SELECT message_id FROM inbox WHERE received_at < now() - make_interval(days => :days)
        ORDER BY message_id LIMIT :limit)
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
        self._work = ((PRUNE_OUTBOX, history_days), (PRUNE_INBOX, inbox_days))

    def prune_some(self) -> bool:
        """Delete at most ROWS_AT_A_TIME rows of each table. Return True if there may be more."""
        with self._engine.begin() as connection:
            deleted = [
                connection.execute(statement, {"days": days, "limit": ROWS_AT_A_TIME}).rowcount
                for statement, days in self._work
            ]
        return max(deleted) == ROWS_AT_A_TIME
