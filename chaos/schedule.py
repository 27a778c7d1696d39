"""Draws the times and kinds of a campaign's faults at random, reproducibly by seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        name: The name in the report.
        shortest: The shortest duration, in seconds; 0 for an instant fault.
        longest: The longest duration, in seconds.
    """

    name: str
    shortest: float
    longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """One fault of the plan.

    Attributes:
        at: The time of the fault, in seconds from the start.
        kind: The name of its kind.
        seconds: Its duration.
        seed: The seed of its own random choices, such as the node.
    """

    at: float
    kind: str
    seconds: float
    seed: int


# The shortest and longest pause between two faults of one target, in seconds. Broker nodes need the longest pauses, to
# form a cluster again.
PAUSES: Mapping[str, tuple[float, float]] = {
    "broker": (15, 35),
    "database": (12, 30),
    "consume": (6, 20),
    "relay": (6, 20),
    "messages": (8, 25),
    "read model": (8, 25),
}


def draw(seed: int, seconds: float, kinds: Mapping[str, Sequence[Kind]]) -> Mapping[str, list[PlannedFault]]:
    """Return the faults of a campaign, by target, in order of time.

    The faults of one target do not overlap; those of different targets may. All kinds of a target are drawn in random
    order before any is drawn again.

    Args:
        seed: The seed. The same seed gives the same campaign.
        seconds: The time after which no fault begins.
        kinds: The kinds of faults, by target; the targets are those of PAUSES.
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
