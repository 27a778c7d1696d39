"""What `allocation-worker restored` writes: the sequence that every product goes on from after a restored backup.

Older programs would begin a new product at 1 again. So `restored` makes 0004 the oldest program that may be used.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
oldest_program = "0001"

RESTORATIONS = """
CREATE TABLE restorations (
    number      integer     PRIMARY KEY,
    restored_at timestamptz NOT NULL DEFAULT now(),
    sequence    bigint      NOT NULL
)
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(RESTORATIONS)
