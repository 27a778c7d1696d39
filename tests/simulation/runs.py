"""Runs simulations: one by a plan, all of a small history, or one by a seed."""

import random as chance
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from allocation_contracts.events import EVENTS
from tests.simulation import histories
from tests.simulation.faults import LEFT_TO_CHANCE, OK, Chance, Outcome, Planned, Point, Schedule
from tests.simulation.judge import judge
from tests.simulation.scheduler import Actor, InTurn
from tests.simulation.world import Setting, World

Plan = Mapping[int, Outcome]

FOCUSES = ("relay", "publisher", "orders", "stock", "consume", "committed", "to allocation.events", "ack", "")
SUBSCRIBER_BINDS = "the subscriber binds"
HOLD = "somebody holds a product"
UPHEAVALS = ("the broker restarts", "the database restarts", "the database crashes", HOLD)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that is over.

    Attributes:
        command: what repeats it.
        faults: in sentences; none if it was good.
        befell: the kinds of faults that happened.
        passed: the points that it passed, where it was planned.
    """

    command: str
    faults: Sequence[str]
    trace: Sequence[str]
    steps: int
    befell: frozenset[str]
    passed: Sequence[Point] = ()

    def __str__(self) -> str:
        return "\n".join([*self.trace, *(f"FAULT {fault}" for fault in self.faults), f"Again: {self.command}"])


@dataclass(frozen=True)
class Small:
    """A small history, and in what portions it is worked off."""

    name: str
    group_limit: int = 500

    def setting(self) -> Setting:
        return Setting(sent=histories.SMALL[self.name](), group_limit=self.group_limit)

    def __str__(self) -> str:
        return f"{self.name}:{self.group_limit}"


SMALL = [Small(name, group_limit) for name in histories.SMALL for group_limit in (500, 1)]


def planned(small: Small, plan: Plan, *, trace: bool = False) -> Ended:
    """A small history with these outcomes at these points.

    Raises:
        LookupError: one of the points was never passed, or such a thing cannot happen there.
    """
    schedule = Planned(plan)
    with _seeded(0) as random:
        world = World(small.setting(), schedule, InTurn(), random, trace=trace)
        world.run()
        words = ",".join(f"{position}={outcome.name}" for position, outcome in plan.items())
        ended = _ended(world, f"make simulate HISTORY={small} PLAN={words}")
    if schedule.met != len(plan):
        raise LookupError(f"{len(plan) - schedule.met} of the plan cannot happen: {ended.command}")
    return replace(ended, passed=schedule.passed)


def every_schedule(
    small: Small, *, most: int, nth: int = 1, left_out: Collection[Outcome] = LEFT_TO_CHANCE
) -> Iterator[Ended]:
    """Every run with at most so many faults; of those with the most faults, every nth."""
    count = 0
    pending: list[dict[int, Outcome]] = [{}]
    while pending:
        plan = pending.pop()
        if len(plan) == most and most > 1:
            count += 1
            if count % nth:
                continue
        ended = planned(small, plan)
        yield ended
        if len(plan) < most:
            pending += _one_more(plan, ended.passed, left_out)


def _one_more(
    plan: dict[int, Outcome], passed: Sequence[Point], left_out: Collection[Outcome]
) -> list[dict[int, Outcome]]:
    after = max(plan, default=-1) + 1
    return [
        {**plan, position: outcome}
        for position in range(after, len(passed))
        for outcome in passed[position].options
        if outcome is not OK and outcome not in left_out
    ]


def by_seed(seed: int, *, trace: bool = False) -> Ended:
    """A run of which chance decides everything: history, processes, order, faults."""
    with _seeded(seed) as random:
        setting = any_setting(random)
        schedule = Chance(
            random,
            fault=random.choice([0.002, 0.01, 0.05]),
            slow=random.choice([0.0, 0.02, 0.2]),
            most=random.randint(0, 12),
            focus=random.choice(FOCUSES),
        )

        def choose(ready: Sequence[Actor]) -> Actor:
            return random.choice(ready)

        world = World(setting, schedule, choose, random, trace=trace)
        world.run()
        return _ended(world, f"make simulate SEED={seed}")


def undisturbed(setting: Setting, seed: int) -> World:
    """A run whose order chance decides, but for the history without any fault."""
    return disturbed(setting, seed, lambda _random: Planned({}))


def disturbed(setting: Setting, seed: int, schedule: Callable[[Random], Schedule]) -> World:
    """A run whose order chance decides, with these faults."""
    with _seeded(seed) as random:
        world = World(setting, schedule(random), random.choice, random, trace=False)
        world.run()
    return world


def any_setting(random: Random) -> Setting:
    """How many of each, and what befalls the servers."""
    upheavals = [(random.random() * 5, random.choice(UPHEAVALS)) for _ in range(random.choice([0, 0, 1, 2]))]
    unbound = random.sample(sorted(EVENTS), 2) if random.random() < 0.2 else []
    if unbound:
        upheavals.append((random.random() * 20, SUBSCRIBER_BINDS))
    sent = histories.anything(random)
    return Setting(
        sent=sent,
        consumers=random.choice([1, 2, 2]),
        relays=random.choice([1, 2]),
        group_limit=random.choice([1, 3, 500]),
        prefetch=random.choice([1, 2, 5, 1000]),
        window=random.choice([1, 4, 1000]),
        interleave=True,
        slow_start=random.choice([0.0, 3.0]),
        unbound=unbound,
        upheavals=sorted(upheavals),
        prunes=len(sent) % 3 == 0,
    )


class _seeded:  # noqa: N801 - used as a context manager
    """Chance from a seed; the product's own jitter too."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> Random:
        self._before = chance.getstate()
        chance.seed(self._seed)
        return Random(self._seed)

    def __exit__(self, *trouble: object) -> None:
        chance.setstate(self._before)


def _ended(world: World, command: str) -> Ended:
    return Ended(
        command=command,
        faults=judge(world),
        trace=world.trace or (),
        steps=world.scheduler.steps,
        befell=frozenset(world.befell),
    )
