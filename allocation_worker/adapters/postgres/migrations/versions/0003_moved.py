"""Nothing but the mark that every unpublished event and every received message is in the tables of 0002.

From here on, programs may read the new tables alone.
"""

revision = "0003"
down_revision = "0002"
oldest_program = "0001"


def upgrade() -> None:
    """The rows are moved in many transactions, by `moves`, before this one."""
