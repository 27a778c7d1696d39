"""Formats tables and times for the verbs' output."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from allocation_worker.cli.output import cell

NUMBERS = frozenset(
    {
        "quantity", "purchased", "allocated", "held", "shipped", "available", "in the warehouse", "left", "sequence",
        "turn", "priority", "lines", "lines before it",
    }
)  # fmt: skip
_WIDTH_OF_A_FILE = 250
_FRAME = 3
"""What a column takes besides its cells."""


class FittedTable:
    """A table that breaks lines between words only; where even that is too wide, each row is a paragraph."""

    def __init__(
        self, title: Text, header: Sequence[str], rows: Sequence[Sequence[Text]], besides: Text | None
    ) -> None:
        self._title, self._header, self._rows, self._besides = title, header, rows, besides

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what rich is to draw in this width."""
        widths = self._widths(options.max_width)
        if widths is not None:
            yield self._table(widths)
            return
        yield self._title
        for row in self._rows:
            yield self._paragraph(row)
            yield ""
        if self._besides:
            yield self._besides

    def _widths(self, room: int) -> list[int] | None:
        """Return the widths of the columns, or None if some word would have to be broken."""
        columns = [[name, *(row[number].plain for row in self._rows)] for number, name in enumerate(self._header)]
        least = [max(cell_len(word) for text in column for word in text.split() or [""]) for column in columns]
        widths = [max(map(cell_len, column)) for column in columns]
        left = room - 1 - sum(width + _FRAME for width in least)
        if left < 0:
            return None
        spare = [width - narrowest for width, narrowest in zip(widths, least, strict=True)]
        while sum(spare) > left:
            widest = spare.index(max(spare))
            spare[widest] -= 1
        return [narrowest + more for narrowest, more in zip(least, spare, strict=True)]

    def _table(self, widths: Sequence[int]) -> Table:
        drawn = Table(title=self._title, title_justify="left", caption=self._besides)
        for name, width in zip(self._header, widths, strict=True):
            drawn.add_column(name, justify="right" if name in NUMBERS else "left", width=width)
        for row in self._rows:
            drawn.add_row(*row)
        return drawn

    def _paragraph(self, row: Sequence[Text]) -> Table:
        drawn = Table.grid(padding=(0, 2, 0, 0))
        drawn.add_column(no_wrap=True, style="bold")
        drawn.add_column(overflow="fold")
        for name, value in zip(self._header, row, strict=True):
            if value:
                drawn.add_row(name, value)
        return drawn


def console() -> Console:
    """Return the console for a verb's output; wide enough for whole rows if stdout is no terminal."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], *, besides: str = "") -> FittedTable:
    """Return a table. Columns named in NUMBERS are aligned to the right.

    Args:
        title: The line above the table.
        header: The names of the columns.
        rows: The cells of each row.
        besides: A line below the table.
    """
    cells = [[cell(value) for value in row] for row in rows]
    return FittedTable(cell(title), header, cells, cell(besides) if besides else None)


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
