"""Draw the times and kinds of a campaign's faults at random, reproducibly by seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        name: As the report calls it.
        shortest: Seconds that it lasts at least; 0 for one that is over at once.
        longest: And at most.
    """

    name: str
    shortest: float
    longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """One fault of the plan.

    Attributes:
        at: Seconds from the start.
        kind: The name of its kind.
        seconds: How long it lasts.
        seed: Of the fault's own random choices, such as which node it hits.
    """

    at: float
    kind: str
    seconds: float
    seed: int


# Seconds between two faults of one target, from and to. A broker's nodes take longest to form a cluster again.
PAUSES: Mapping[str, tuple[float, float]] = {
    "broker": (15, 35),
    "database": (12, 30),
    "consume": (6, 20),
    "relay": (6, 20),
    "messages": (8, 25),
    "read model": (8, 25),
}


def draw(seed: int, seconds: float, kinds: Mapping[str, Sequence[Kind]]) -> Mapping[str, list[PlannedFault]]:
    """Return the faults of a campaign, by target, in their order.

    The faults of one target do not overlap, those of different targets do. Each target's kinds come from a deck that
    is shuffled again when it is used up, so that none is left out.

    Args:
        seed: The same one gives the same campaign.
        seconds: No fault begins later.
        kinds: By target, as in PAUSES.
    """
    return {target: _draw_one(random.Random(f"{seed}/{target}"), target, seconds, kinds[target]) for target in kinds}


def _draw_one(rng: random.Random, target: str, seconds: float, kinds: Sequence[Kind]) -> list[PlannedFault]:
    planned_faults: list[PlannedFault] = []
    deck: list[Kind] = []
    at = rng.uniform(*PAUSES[target])
    while at < seconds:
        if not deck:
            deck = rng.sample(kinds, len(kinds))
        kind = deck.pop()
        lasting = rng.uniform(kind.shortest, kind.longest)
        planned_faults.append(PlannedFault(at=at, kind=kind.name, seconds=lasting, seed=rng.getrandbits(32)))
        at += lasting + rng.uniform(*PAUSES[target])
    return planned_faults
