"""The place of a line, and the ETA with which a batch was created.

Older programs go on working. A line that they write has no place of its own: its place is then its sequence, the last
answer, by which they chose the lines that lose their stock. So it is for lines that were there before, since their
first answer is not in the tables.

The index of a batch's lines by place is built by `migrate`, in `indexes`.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
oldest_program = "0001"

# Without a default and without a rewrite, so that the locks are short.
PLACE = "ALTER TABLE order_lines ADD COLUMN place bigint"

# `created_eta` counts once the ETA has changed. Until then it is the ETA.
CREATED_ETA = """
ALTER TABLE batches ADD COLUMN created_eta date, ADD COLUMN eta_changed boolean NOT NULL DEFAULT false
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(PLACE)
    op.execute(CREATED_ETA)
