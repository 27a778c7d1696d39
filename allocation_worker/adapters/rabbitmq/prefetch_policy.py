"""How many messages to have in hand, so that a message that kills its process harms no others."""

from enum import Enum, auto

FAILURES_BEFORE = 4


def share(most: int, failures: int) -> int:
    """Return how many messages may be in hand together if deliveries of one of them have failed.

    A half after the first failed delivery, and a quarter of that after each further one: the one that kills is soon
    among few, and has cost its neighbours no more than four of the 20 deliveries that a message has. From then on it
    is alone.

    Args:
        most: How many new messages may be in hand together.
        failures: How many deliveries of the message have failed.
    """
    if failures == 0:
        return most
    if failures >= FAILURES_BEFORE:
        return 1
    return max(1, most >> (2 * failures - 1))


class PrefetchMode(Enum):
    """How many messages to have unacked."""

    FULL = "full"  # as many as the prefetch allows
    CAUTIOUS = "cautious"  # one, to see how often it has failed; then as many as `share` allows
    ISOLATING = "isolating"  # one at a time, since some message has failed again and again


class PrefetchStep(Enum):
    """What to do about a delivery."""

    TAKE = auto()  # process it
    WIDEN = auto()  # process it, and consume with the new prefetch
    DRAIN = auto()  # process it, consume no more until nothing is in hand, then begin with one
    SET_ASIDE = auto()  # as DRAIN, but do not process it: it is returned in the end, with all that came after it
    RETURN = auto()  # return all that is in hand, and begin anew


class PrefetchPolicy:
    """Decides how many messages to have in hand. The broker's delivery limit is 20.

    A message that kills its process spends one delivery of each message that is in hand with it. So what has failed
    before is taken in small parts, as `share` says, and from the fourth failure on one at a time, until the broker has
    dead-lettered the one that kills. The first message that was never delivered before shows that it has.

    Where order does not matter, every connection begins with one message, which tells how many more may be taken: to
    take many, see that they have failed before, and return them would spend a delivery of each. A part is answered
    before the next one is begun. A message that has failed four times is not processed while others are in hand.

    Where order matters, all are taken until the fourth failure. A quorum queue puts a message that is returned behind
    the others that were returned, so parts would change the order of stock commands at the second death. Messages that
    are returned together keep their order.

    Args:
        prefetch: The most messages that are unacked at a time.
        ordered: Whether the messages of the queue must not overtake each other.

    Attributes:
        mode: How many messages are taken, in a word.
        window: With what prefetch to consume.
    """

    def __init__(self, prefetch: int, *, ordered: bool) -> None:
        self.ordered = ordered
        self._prefetch = prefetch
        self.connection_lost()

    def connection_lost(self) -> None:
        """Begin anew: nothing is known of what will be delivered."""
        self._draining = False
        self._taken = 0
        self.mode = PrefetchMode.FULL if self.ordered else PrefetchMode.CAUTIOUS
        self.window = self._prefetch if self.ordered else 1

    def drained(self) -> None:
        """Take note that nothing is in hand any more, after `PrefetchStep.DRAIN` or `PrefetchStep.SET_ASIDE`."""
        self._draining = False
        self.window, self._taken = 1, 0

    def delivered(self, failures: int) -> PrefetchStep:
        """Take note of a delivery, and return what to do about it.

        Args:
            failures: How many deliveries of it have failed; 0 if it was never delivered before.
        """
        self._taken += 1
        if self.ordered:
            return self._ordered(failures)
        if failures >= FAILURES_BEFORE:
            return self._isolate(failures)
        if self._draining:  # what stands behind a message that was set aside could not be acked before it
            return PrefetchStep.SET_ASIDE if self.mode is PrefetchMode.ISOLATING else PrefetchStep.TAKE
        if self.mode is PrefetchMode.ISOLATING and failures:
            return PrefetchStep.TAKE
        return self._unordered(failures)

    def _ordered(self, failures: int) -> PrefetchStep:
        before = self.mode
        if failures == 0:
            self.mode, self.window = PrefetchMode.FULL, self._prefetch
        elif failures >= FAILURES_BEFORE:
            self.mode, self.window = PrefetchMode.ISOLATING, 1
        return PrefetchStep.TAKE if self.mode is before else PrefetchStep.RETURN

    def _unordered(self, failures: int) -> PrefetchStep:
        allowed = share(self._prefetch, failures)
        if self.window == 1:
            self.mode = PrefetchMode.CAUTIOUS if failures else PrefetchMode.FULL
            self.window = allowed
            return PrefetchStep.WIDEN if allowed > 1 else PrefetchStep.TAKE
        whole = self.mode is PrefetchMode.CAUTIOUS and self._taken >= self.window
        if whole or allowed != self.window:
            self.mode = PrefetchMode.CAUTIOUS
            self._draining = True
            return PrefetchStep.DRAIN
        return PrefetchStep.TAKE

    def _isolate(self, failures: int) -> PrefetchStep:
        before, self.mode = self.mode, PrefetchMode.ISOLATING
        if self.window > 1:
            self._draining = True
            return PrefetchStep.SET_ASIDE
        # The first time, it goes back once more: the process's other queues are to have nothing in hand when it is its
        # turn, and so it is gone after half as many deaths. Not every time: another message would take its turn
        # before it, kill the process, and stand behind it again, until both are dead-lettered.
        return PrefetchStep.RETURN if before is not PrefetchMode.ISOLATING and failures % 2 == 0 else PrefetchStep.TAKE
