"""The time that pruning has reached, and no index by age on the inbox.

Pruning reads the inbox in the order of its pages; nothing else asked for rows of an age.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# One row. It begins with the time of the migration, so a first relay prunes at once.
PRUNE_CLOCK = "CREATE TABLE prune_clock (reached timestamptz NOT NULL)"
STARTED = "INSERT INTO prune_clock SELECT now()"
NO_INDEX_BY_AGE = "DROP INDEX inbox_by_age"


def upgrade() -> None:
    for statement in (PRUNE_CLOCK, STARTED, NO_INDEX_BY_AGE):
        op.execute(statement)
