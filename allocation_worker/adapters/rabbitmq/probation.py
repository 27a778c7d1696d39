"""When to take messages one at a time, so that one that kills spends its own deliveries only."""

from enum import Enum

LOSSES_BEFORE = 3
FAILURES_BEFORE = 4


class Pace(Enum):
    """How many messages to have in hand."""

    FULL = "full"  # all that the prefetch allows
    CAREFUL = "careful"  # one at a time, since nothing is known yet
    PROBATION = "probation"  # one at a time, since something is known to be wrong


class Probation:
    """Decides between all that the prefetch allows and one at a time; the broker's delivery limit is 20.

    A message that brings down its process, or its connection while it is decoded, takes a delivery of each of its
    neighbours with it. After a few such deaths the messages are taken one at a time, until the broker has dead-lettered
    the culprit; the first message that was never delivered before tells that it has.

    Where order matters, not from the first death on: a quorum queue puts a message that comes back alone behind the
    others that have come back, so two kills in a row would change the order of stock commands. Those that come back
    together stay in order. Where it does not, every connection begins with one at a time: to take hundreds only to see
    that they have failed before, and to give them back, would spend a delivery of each at every start.

    Args:
        ordered: The messages of the queue must not overtake each other.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self._first = Pace.FULL if ordered else Pace.CAREFUL
        self._losses = 0
        self.pace = self._first

    def connection_lost(self) -> None:
        self._losses += 1
        self.pace = Pace.PROBATION if self._losses >= LOSSES_BEFORE else self._first

    def changed_by(self, *, redelivered: bool, failures: int) -> bool:
        """Take note of a delivery; True if consuming is to begin anew, at the new pace.

        Args:
            redelivered: it was delivered before.
            failures: how many deliveries of it the broker counts as failed.
        """
        before = self.pace
        if not redelivered:
            self.pace = Pace.FULL
            self._losses = 0
        elif failures >= FAILURES_BEFORE:
            self.pace = Pace.PROBATION
        return self.pace is not before
