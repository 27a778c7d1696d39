"""How many messages to have in hand, so that a message that kills its process harms no others."""

from collections.abc import Iterable
from enum import Enum, auto

FAILURES_BEFORE_ALONE = 4
FAILURES_BEFORE_RETURN = 6
ORDERED_PREFETCH = 64


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
    if failures >= FAILURES_BEFORE_ALONE:
        return 1
    return max(1, most >> (2 * failures - 1))


class PrefetchStep(Enum):
    """What to do about a delivery."""

    TAKE = auto()  # process it
    WIDEN = auto()  # process it, cancel the consumer, and consume with the new prefetch beside what is in hand
    NARROW = auto()  # process it, cancel the consumer, and consume with the new prefetch once all in hand is answered
    HAND_OVER = auto()  # process it; once it is answered, cancel the consumer, ack it, consume with the new prefetch
    RETURN = auto()  # return all that is in hand, and consume with the new prefetch


class PrefetchPolicy:
    """Decides how many messages to have in hand. The broker's delivery limit is 20.

    A message that kills its process spends one delivery of each message that is in hand with it. What has failed before
    is therefore taken in small parts, as `share` says, until it is answered or is alone. A message that is not in hand
    spends nothing. So no more are taken than are processed next, and none are taken to be returned.

    A quorum queue cannot change the prefetch of a consumer, and what is on its way to a consumer that is cancelled is
    returned, which spends a delivery. So a consumer is cancelled only while as many are in hand as its prefetch allows:
    then nothing is on its way. If fewer are there to be taken, no other prefetch is needed.

    Where order does not matter, every connection begins with one message, which tells how many may be taken.

    Where order matters, all that came back at a crash have to be in hand together again. The queue puts what is
    returned behind what was returned before, so if fewer were taken, the next crash would change the order. So few are
    taken from the start (`ORDERED_PREFETCH`), and always as many. Only when a message has failed
    `FAILURES_BEFORE_RETURN` times, all are returned once, together, and taken one at a time: else those behind one that
    kills would be dead-lettered with it. The first message that was never delivered before shows that none is left.

    Args:
        prefetch: The most messages that are unacked at a time.
        ordered: Whether the messages of the queue must not overtake each other.

    Attributes:
        window: With what prefetch to consume.
    """

    def __init__(self, prefetch: int, *, ordered: bool) -> None:
        self._ordered = ordered
        self._most = prefetch
        self.window = prefetch if ordered else 1
        self.channel_closed()

    def channel_closed(self) -> None:
        """Take note that nothing is in hand any more."""
        self._last_tag = self._last_tag_before = 0
        self._in_hand = self._in_hand_of_consumer = self._suspects = 0
        self._failures: dict[int, int] = {}
        self._cancelled = False
        if not self._ordered:  # nothing is known of what will be delivered
            self.window = 1

    def consuming(self) -> None:
        """Take note of a new consumer, with the prefetch `window`."""
        self._last_tag_before = self._last_tag
        self._in_hand_of_consumer = 0
        self._cancelled = False

    def delivered(self, tag: int, failures: int) -> PrefetchStep:
        """Take note of a delivery, and return what to do about it.

        Args:
            tag: Its delivery tag.
            failures: How many deliveries of it have failed; 0 if it was never delivered before.
        """
        self._last_tag = tag
        self._in_hand += 1
        self._in_hand_of_consumer += 1
        if failures:
            self._failures[tag] = failures
            self._suspects += failures >= FAILURES_BEFORE_ALONE
        return self._ordered_step(failures) if self._ordered else self._unordered_step()

    def answered(self, tags: Iterable[int]) -> None:
        """Take note that deliveries are answered; they may be acked later."""
        for tag in tags:
            self._in_hand -= 1
            self._in_hand_of_consumer -= tag > self._last_tag_before
            self._suspects -= self._failures.pop(tag, 0) >= FAILURES_BEFORE_ALONE

    @property
    def nothing_in_hand(self) -> bool:
        """Whether all that was delivered is answered."""
        return not self._in_hand

    @property
    def suspects_in_hand(self) -> bool:
        """Whether messages are in hand that have failed again and again, or are about to be. Thread-safe."""
        return self._suspects > 0 or self._isolating

    @property
    def _isolating(self) -> bool:
        return self._ordered and self.window < self._most

    def _ordered_step(self, failures: int) -> PrefetchStep:
        if self._isolating and not failures:
            self.window = self._most
            return PrefetchStep.HAND_OVER
        if not self._isolating and failures >= FAILURES_BEFORE_RETURN and self._most > 1:
            self.window = 1
            return PrefetchStep.RETURN
        return PrefetchStep.TAKE

    def _unordered_step(self) -> PrefetchStep:
        if self._cancelled or self._in_hand_of_consumer < self.window:
            return PrefetchStep.TAKE
        before = self.window
        self.window = share(self._most, max(self._failures.values(), default=0))
        if self.window == before:
            return PrefetchStep.TAKE
        self._cancelled = True
        return PrefetchStep.WIDEN if self.window > before else PrefetchStep.NARROW
