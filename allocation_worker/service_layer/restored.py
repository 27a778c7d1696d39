"""What `restored` has done."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Restoration:
    """A restored backup, from which the service goes on.

    Attributes:
        number: Counts the restorations of this database, from 1.
        sequence: The `sequence` that every product has now. Its next event has the one after it.
        products: How many products there are.
    """

    number: int
    sequence: int
    products: int
