"""The places where faults can occur, the faults, and the decision to inject them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Protocol


class Outcome(Enum):
    """What happens at a point."""

    OK = "ok"
    ERROR_BEFORE = "an error, nothing was done"
    ERROR_AFTER = "done, then an error"
    ERROR_LATER = "an error, and it is done a moment later"
    CONTENTION = "another transaction was in the way"
    CRASH_BEFORE = "the process dies, nothing was done"
    CRASH_AFTER = "done, then the process dies"
    NACK = "the broker refuses it"
    UNANSWERED = "done, and no answer ever comes"
    CUT = "the broker gives the connection up, the client notices later"
    ABANDONED = "the client gives the connection up, the broker notices later"
    SLOW = "it takes a while"
    TWICE = "it arrives twice"


OK = Outcome.OK

Options = tuple[Outcome, ...]

CRASH: Options = (OK, Outcome.CRASH_AFTER, Outcome.SLOW)
STATEMENT: Options = (OK, Outcome.ERROR_BEFORE, Outcome.CRASH_BEFORE, Outcome.SLOW)
"""Within a transaction: whether it was executed makes no difference, since it is rolled back."""
LOCKING: Options = (*STATEMENT, Outcome.CONTENTION)
FRAME: Options = (OK, Outcome.ERROR_BEFORE, Outcome.ERROR_AFTER, Outcome.CRASH_BEFORE, Outcome.CRASH_AFTER)
"""From a client to the broker; an error is the loss of the connection."""
WRITE: Options = (*FRAME, Outcome.SLOW)
"""A transaction of its own."""
COMMIT: Options = (*WRITE, Outcome.ERROR_LATER)
PUBLISH: Options = (*FRAME, Outcome.NACK)

LEFT_TO_CHANCE = {
    Outcome.CONTENTION,
    Outcome.UNANSWERED,
    Outcome.CUT,
    Outcome.ABANDONED,
    Outcome.SLOW,
    Outcome.TWICE,
}
"""What the small histories are not put through in every combination."""


@dataclass(frozen=True)
class Point:
    """A point that was passed."""

    name: str
    options: Options


class Schedule(Protocol):
    """Decides what happens at each point, in the order in which they are passed."""

    def decide(self, name: str, options: Options) -> Outcome: ...


class Planned:
    """Named outcomes at numbered points, ok at all others and where such a thing cannot happen.

    Attributes:
        passed: the points so far.
        met: how many of the plan have happened.
    """

    def __init__(self, plan: Mapping[int, Outcome]) -> None:
        self._plan = plan
        self.passed: list[Point] = []
        self.met = 0

    def decide(self, name: str, options: Options) -> Outcome:
        outcome = self._plan.get(len(self.passed), OK)
        self.passed.append(Point(name, options))
        if outcome is OK or outcome not in options:
            return OK
        self.met += 1
        return outcome


class Chance:
    """Any outcome at any point, with some probability, until so many have happened; slowness without end.

    Args:
        random: where chance comes from.
        fault: the probability of anything but slowness.
        slow: that of slowness.
        most: how many faults at most: fewer than make a delivery limit.
        focus: part of the names of points where faults are five times as likely; faults of several kinds that meet in
            one place are rare otherwise.
    """

    def __init__(self, random: Random, *, fault: float, slow: float, most: int, focus: str) -> None:
        self._random = random
        self._focus = focus
        self._fault = fault
        self._slow = slow
        self._left = most

    def decide(self, name: str, options: Options) -> Outcome:
        if Outcome.SLOW in options and self._random.random() < self._slow:
            return Outcome.SLOW
        fault = self._fault * (5 if self._focus in name else 1)
        if self._left == 0 or self._random.random() >= fault:
            return OK
        self._left -= 1
        return self._random.choice([option for option in options[1:] if option is not Outcome.SLOW])


class Strikes:
    """One kind of fault of the consumers again and again, after so many points where it could have happened.

    Args:
        random: where chance comes from.
        kinds: what happens.
        most: how many times.
        apart: the fewest and the most points from one to the next.
    """

    def __init__(self, random: Random, kinds: Options, *, most: int, apart: tuple[int, int]) -> None:
        self._random = random
        self._kinds = kinds
        self._left = most
        self._apart = apart
        self._until_next = random.randint(*apart)

    def decide(self, name: str, options: Options) -> Outcome:
        possible = [kind for kind in self._kinds if kind in options]
        if not self._left or not possible or "relay" in name or "publish" in name:
            return OK
        self._until_next -= 1
        if self._until_next:
            return OK
        self._left -= 1
        self._until_next = self._random.randint(*self._apart)
        return self._random.choice(possible)


KILLED: Options = (Outcome.CRASH_BEFORE, Outcome.CRASH_AFTER)
CONNECTION_LOST: Options = (Outcome.ERROR_BEFORE, Outcome.ERROR_AFTER)
