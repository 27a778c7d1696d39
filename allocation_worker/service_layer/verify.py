"""What a look at the whole store has found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is wrong in one way.

    Attributes:
        count: How often.
        examples: A sentence for each of the first few.
    """

    count: int
    examples: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found; without faults all is well.

    Attributes:
        faults: What must not be.
        notices: What an operator may want to know.
        counts: Rows by table.
    """

    faults: Sequence[Fault]
    notices: Sequence[str]
    counts: Mapping[str, int]
