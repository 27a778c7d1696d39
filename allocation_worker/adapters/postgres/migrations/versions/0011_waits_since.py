"""The time since when a line waits for stock.

Older programs go on working. A line that one of them lets wait, or that waited before, has no such time.

The index of waiting lines by this time is built by `migrate`, in `indexes`.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
oldest_program = "0001"

WAITS_SINCE = "ALTER TABLE order_lines ADD COLUMN waits_since timestamptz"


def upgrade() -> None:
    """Add the column."""
    op.execute(WAITS_SINCE)
