"""Formats tables and times for the verbs' output."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from allocation_worker.cli.output import cell

NUMBERS = frozenset(
    {
        "quantity", "purchased", "allocated", "held", "shipped", "available", "in the warehouse", "left", "sequence",
        "turn", "priority", "lines", "lines before it",
    }
)  # fmt: skip
_WIDTH_OF_A_FILE = 250


def console() -> Console:
    """Return the console for a verb's output; wide enough for whole rows if stdout is no terminal."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], *, besides: str = "") -> Table:
    """Return a table. Columns named in NUMBERS are aligned to the right.

    Args:
        title: The line above the table.
        header: The names of the columns.
        rows: The cells of each row.
        besides: A line below the table.
    """
    drawn = Table(title=cell(title), title_justify="left", caption=cell(besides) if besides else None)
    for name in header:
        drawn.add_column(name, justify="right" if name in NUMBERS else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(cell, row))
    return drawn


def shown(time: datetime) -> str:
    """Return a time in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """Return a time span in words, with its two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
