"""What stays on the screen: the stock at closing time, what happened, and every check."""

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
    """What a performance came to.

    Attributes:
        shop: The state at closing time.
        chronicle: The title of each act, and what came of it.
        report: What the checker found.
        answered: How many commands have an answer.
        exit_codes: Of `consume` and `relay`, asked to end.
    """

    shop: Shop
    chronicle: Sequence[tuple[str, str]]
    report: Report
    answered: int
    exit_codes: dict[str, int]

    @property
    def faults(self) -> list[str]:
        """What went wrong; nothing, if all is well."""
        return self.report.faults + [f"{verb} ended with {code}." for verb, code in self.exit_codes.items() if code]


def recap(ending: Ending, signs: Signs, *, width: int) -> RenderableType:
    """Give the stock at closing time, and the acts; for those who watched the live view, which is gone now."""
    acts = Table.grid(padding=(0, 2, 0, 0))
    acts.add_column(style="bold", min_width=14)
    acts.add_column()
    for title, essence in ending.chronicle:
        acts.add_row(title, essence)
    return Group(
        Text("A day in a shop", "bold cyan"), Text(), stock_table(ending.shop, signs, width=width), Text(), acts
    )


def verdict(ending: Ending, signs: Signs) -> Iterator[Text]:
    """Give a line for each check, or the faults."""
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
    yield (
        f"The sequences have no gap: {sum(ending.report.counts.values()):,} events of "
        f"{words.count(len(ending.shop.skus()), 'SKU')}, each SKU's in order."
    )
    yield f"{words.listed(list(ending.exit_codes))} ended when asked, and so did the servers."
