"""When to take messages one at a time, so that a message that kills its process harms no others."""

from enum import Enum

LOSSES_BEFORE = 3
FAILURES_BEFORE = 4


class PrefetchMode(Enum):
    """How many messages to have unacked."""

    FULL = "full"  # as many as the prefetch allows
    CAUTIOUS = "cautious"  # one at a time, since nothing is known yet
    ISOLATING = "isolating"  # one at a time, since some message has failed again and again


class PrefetchPolicy:
    """Decides between the full prefetch and one message at a time. The broker's delivery limit is 20.

    A message that kills its process spends one delivery of each message that is unacked with it. After a few deaths
    the messages are taken one at a time, until the broker has dead-lettered the one that kills. The first message that
    was never delivered before shows that it has.

    Where order matters, this does not begin with the first death. A quorum queue puts a message that is returned alone
    behind the others that were returned, so two deaths in a row would change the order of stock commands. Messages
    that are returned together keep their order. Where order does not matter, every connection begins with one message
    at a time: to take hundreds, see that they have failed before, and return them would spend a delivery of each at
    every start.

    Args:
        ordered: Whether the messages of the queue must not overtake each other.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self._first = PrefetchMode.FULL if ordered else PrefetchMode.CAUTIOUS
        self._losses = 0
        self.mode = self._first

    def connection_lost(self) -> None:
        """Take note of a lost connection."""
        self._losses += 1
        self.mode = PrefetchMode.ISOLATING if self._losses >= LOSSES_BEFORE else self._first

    def changed_by(self, *, redelivered: bool, failures: int) -> bool:
        """Take note of a delivery.

        Args:
            redelivered: Whether it was delivered before.
            failures: How many deliveries of it the broker counts as failed.

        Returns:
            Whether the mode has changed: consuming is to begin anew.
        """
        before = self.mode
        if not redelivered:
            self.mode = PrefetchMode.FULL
            self._losses = 0
        elif failures >= FAILURES_BEFORE:
            self.mode = PrefetchMode.ISOLATING
        return self.mode is not before
