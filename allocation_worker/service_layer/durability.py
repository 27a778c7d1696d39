"""What the guarantees rest on: the settings of the database server, its standbys, and the state of our tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Weakness:
    """One condition that weakens the guarantees, or that a reader of them should know.

    Attributes:
        kind: A stable slug, such as `fsync-off`.
        sentence: What the condition is, what it means for the guarantees, and what to do.
        is_fault: Whether something is wrong. A condition that may be intended is none.
    """

    kind: str
    sentence: str
    is_fault: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """What the guarantees rest on.

    Attributes:
        facts: Settings and state, by name: text, numbers, booleans, lists of text; None for what the role cannot see.
        weaknesses: The conditions that were found.
    """

    facts: Mapping[str, object]
    weaknesses: Sequence[Weakness]
