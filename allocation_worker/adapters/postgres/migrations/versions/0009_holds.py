"""Lines for which stock is held until a time.

Older programs go on working. They take such a line for an allocated one: `hold` is for senders once no older program
runs. The indexes of held lines are built by `migrate`, in `indexes`.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
oldest_program = "0001"

# `held_by` is the message_id of the hold and its correlation_id, with a line feed between them.
HELD = "ALTER TABLE order_lines ADD COLUMN held_until timestamptz, ADD COLUMN held_by text"


def upgrade() -> None:
    """Add the columns."""
    op.execute(HELD)
