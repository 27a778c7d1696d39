"""The result of `verify`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: A slug: that of a check of the rows, or of a `Weakness`.
        count: The number of wrong rows, or of cases.
        examples: One sentence for each of the first of them.
    """

    kind: str
    count: int
    examples: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The result of all checks.

    Attributes:
        faults: The faults; empty for a correct store.
        notices: Sentences about conditions that are no faults.
        counts: The number of rows, by table.
        durability: What the guarantees rest on: the facts of `Durability`.
    """

    faults: Sequence[Fault]
    notices: Sequence[str]
    counts: Mapping[str, int]
    durability: Mapping[str, object]
