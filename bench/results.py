"""What a row of the table says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row.

    Attributes:
        work: What was done.
        goal: In words; empty where there is none.
        found: In words.
        met: None where there is no goal.
        figures: For the JSON and the plot.
    """

    work: str
    goal: str = ""
    found: str
    met: bool | None = None
    figures: Mapping[str, Any]
