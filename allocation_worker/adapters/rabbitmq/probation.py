"""When to take messages one at a time, so that one that kills spends its own deliveries only."""

LOSSES_BEFORE = 3
FAILURES_BEFORE = 4


class Probation:
    """Decides between all that the prefetch allows and one at a time; the broker's delivery limit is 20.

    A message that brings down its process, or its connection while it is decoded, takes a delivery of each of its
    neighbours with it. After a few such deaths the messages are taken one at a time, until the broker has dead-lettered
    the culprit; the first message that was never delivered before tells that it has.

    Not from the first death on: a quorum queue puts a message that comes back alone behind the others that have come
    back, so two kills in a row would change the order of stock commands. Those that come back together stay in order.
    """

    def __init__(self) -> None:
        self.on = False
        self._losses = 0

    def connection_lost(self) -> None:
        self._losses += 1
        self.on = self._losses >= LOSSES_BEFORE

    def changed_by(self, *, redelivered: bool, failures: int) -> bool:
        """Take note of a delivery; True if it is to be given back with all others, and consuming to begin anew.

        Args:
            redelivered: it was delivered before.
            failures: how many deliveries of it the broker counts as failed.
        """
        before = self.on
        if not redelivered:
            self.on = False
            self._losses = 0
        elif failures >= FAILURES_BEFORE:
            self.on = True
        return self.on is not before
