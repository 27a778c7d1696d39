"""Lines that wait for stock.

Older programs go on working. They serve no line that waits. The next command of a newer program that frees stock of the
product does.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
oldest_program = "0001"

# They are null for a line of which nothing of the kind was asked. `answer` is the type and the body of the last event
# about the line, as long as that cannot be told from the line and its batch.
TERMS = """
ALTER TABLE order_lines ADD COLUMN wait boolean, ADD COLUMN priority smallint, ADD COLUMN needed_by date,
    ADD COLUMN answer text
"""

# A lower bound of the quantity of those that wait.
SMALLEST_WAITING = "ALTER TABLE products ADD COLUMN smallest_waiting bigint"


def upgrade() -> None:
    """Add the columns. The index of lines that wait is built by `migrate`, in `indexes`."""
    op.execute(TERMS)
    op.execute(SMALLEST_WAITING)
