"""What a look at the whole store has found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is wrong in one way.

    Attributes:
        count: how often.
        examples: a sentence for each of the first few.
    """

    count: int
    examples: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found; without faults all is well.

    Attributes:
        faults: what must not be.
        notices: what an operator may want to know.
        counts: rows by table.
    """

    faults: Sequence[Fault]
    notices: Sequence[str]
    counts: Mapping[str, int]
