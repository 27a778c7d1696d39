"""When a line has ended, and what was pruned of a batch.

Older programs go on working. They do not note the end of a line, and would create a batch anew that was pruned:
ALLOCATION_LINES_DAYS is to be set once no older program runs.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
oldest_program = "0001"

# Null as long as a line may still be moved or served. A line that had ended before, or when it was inserted, gets the
# time at which pruning first sees it.
ENDED = """
ALTER TABLE order_lines ADD COLUMN ended_at timestamptz;
ALTER TABLE batches ADD COLUMN ended_at timestamptz
"""

# The quantity of shipped lines that were pruned. It stays in `allocated` and `shipped`.
PRUNED = "ALTER TABLE batches ADD COLUMN pruned integer NOT NULL DEFAULT 0"

# What stays of a batch, so that it is not created a second time.
PRUNED_BATCHES = """
CREATE TABLE pruned_batches (
    reference text COLLATE "C" PRIMARY KEY,
    sku       text COLLATE "C" NOT NULL
)
"""


def upgrade() -> None:
    """Add the columns and the table."""
    op.execute(ENDED)
    op.execute(PRUNED)
    op.execute(PRUNED_BATCHES)
