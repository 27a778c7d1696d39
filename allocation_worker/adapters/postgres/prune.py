"""What is old enough goes, a little at a time."""

import sqlalchemy as sa
from sqlalchemy.engine import Engine

ROWS_AT_A_TIME = 1000

# The oldest stand first by their ids. By its time of creation an old row is not found for long: once young rows have
# taken the pages of old ones, the BRIN index takes every page for one that may hold an old row.
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
    """Published events and received messages of the past.

    Args:
        engine: The database.
        history_days: How many days events are kept, published or wanted by nobody; one that waits is never pruned.
        inbox_days: How many days a message_id is remembered.
    """

    def __init__(self, engine: Engine, *, history_days: int, inbox_days: int) -> None:
        self._engine = engine
        self._work = ((PRUNE_OUTBOX, history_days), (PRUNE_INBOX, inbox_days))

    def prune_some(self) -> bool:
        """Delete at most ROWS_AT_A_TIME rows of each; True if there may be more."""
        with self._engine.begin() as connection:
            deleted = [
                connection.execute(statement, {"days": days, "limit": ROWS_AT_A_TIME}).rowcount
                for statement, days in self._work
            ]
        return max(deleted) == ROWS_AT_A_TIME
