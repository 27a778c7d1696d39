"""Lines that were shipped.

Older programs go on working. They know no shipped line, so they would take one off a batch that shrinks, or cancel it:
`ship` is for senders once no older program runs.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
oldest_program = "0001"

SHIPPED = """
ALTER TABLE order_lines ADD COLUMN shipped boolean;
ALTER TABLE batches ADD COLUMN shipped integer NOT NULL DEFAULT 0
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(SHIPPED)
