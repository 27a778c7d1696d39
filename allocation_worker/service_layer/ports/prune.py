"""What pruning needs: the time, and the tables that old rows are deleted from."""

from datetime import datetime, timedelta
from typing import NamedTuple, Protocol


class Step(NamedTuple):
    """The result of one step.

    Attributes:
        rows: The rows that were deleted.
        ended: Whether the round is through: every row that was old when it began was looked at.
    """

    rows: int
    ended: bool


class PrunedTable(Protocol):
    """A table whose old rows are deleted, a little in each step. Any method may raise a StoreError."""

    name: str
    keep: timedelta
    """How long a row is kept."""

    def step(self, now: datetime) -> Step:
        """Delete some rows that are older than `keep` at this time. Rows that somebody has locked are skipped.

        The cost depends neither on the size of the table nor on the steps before. A round begins after the last.
        """

    def steps_left(self) -> int:
        """Return how many steps this round has left, as far as that is known; at least 1."""


class PruneTimes(Protocol):
    """The clock of the database, and the time that pruning had reached. Any method may raise a StoreError."""

    def server_time(self) -> datetime:
        """Return the time by the clock of the database, which may be wrong."""

    def reached(self) -> datetime:
        """Return the time that was kept last."""

    def reach(self, before: datetime, after: datetime) -> bool:
        """Keep the time `after`. Do nothing and return False if the time that is kept is not `before`."""
