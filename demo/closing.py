"""The final output: the stock at the end, the result of each step, and every check."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from demo import words
from demo.live import stock_table
from demo.shop import Shop
from demo.words import Signs
from harness.checker.events import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The result of a run.

    Attributes:
        shop: The final state of the shop.
        chronicle: The title and the result of each step.
        report: The checker's report.
        answered: The number of answered commands.
        exit_codes: The exit codes of `consume` and `relay` after SIGTERM.
    """

    shop: Shop
    chronicle: Sequence[tuple[str, str]]
    report: Report
    answered: int
    exit_codes: dict[str, int]

    @property
    def faults(self) -> list[str]:
        """Return all faults; an empty list if there are none."""
        return self.report.faults + [f"{verb} ended with {code}." for verb, code in self.exit_codes.items() if code]


def recap(ending: Ending, signs: Signs, *, width: int) -> RenderableType:
    """Return the final stock and the steps, since the live view is no longer on the screen."""
    acts = Table.grid(padding=(0, 2, 0, 0))
    acts.add_column(style="bold", min_width=14)
    acts.add_column()
    for title, essence in ending.chronicle:
        acts.add_row(title, essence)
    return Group(
        Text("A day in a shop", "bold cyan"), Text(), stock_table(ending.shop, signs, width=width), Text(), acts
    )


def verdict(ending: Ending, signs: Signs) -> Iterator[Text]:
    """Return a line for each check, or the faults."""
    yield Text()
    if ending.faults:
        for fault in ending.faults:
            yield Text.assemble((f"{signs.bad} ", "bold red"), fault)
    else:
        for sentence in _checks(ending):
            yield Text.assemble((f"{signs.good} ", "bold green"), sentence)


def _checks(ending: Ending) -> Iterator[str]:
    batches = ending.report.batches.values()
    allocated, purchased = sum(batch.allocated for batch in batches), sum(batch.purchased for batch in batches)
    yield f"Every command was answered, and once: {ending.answered:,} of {ending.answered:,}."
    count = words.count(len(batches), "batch", "batches")
    yield f"Nothing was oversold: {count}, {allocated:,} of {purchased:,} pieces allocated."
    waited, told = ending.shop.waited, ending.shop.told
    yield (
        f"No line waits for what is there, and none was left with an old date: {words.count(waited, 'line')} waited, "
        f"{words.count(told, 'new date was', 'new dates were')} told."
    )
    yield (
        f"The sequences have no gap: {sum(ending.report.counts.values()):,} events of "
        f"{words.count(len(ending.shop.skus()), 'SKU')}, each SKU's in order."
    )
    yield f"{words.listed(list(ending.exit_codes))} ended when asked, and so did the servers."
