"""One row of the results."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row.

    Attributes:
        work: The work that was measured.
        goal: The goal as text; empty if there is none.
        found: The result as text.
        met: Whether the goal was met; None if there is none.
        figures: The figures for the JSON and the plot.
    """

    work: str
    goal: str = ""
    found: str
    met: bool | None = None
    figures: Mapping[str, Any]
