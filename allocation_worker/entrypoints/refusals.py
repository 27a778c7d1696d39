"""What the relay does while a queue refuses events, as one that is full and has `reject-publish` does.

The exchange has given the event to the other queues by the time the relay hears of the refusal, and every further
attempt gives it to them again. So the relay pauses, longer each time, and then publishes one event: the first that was
refused. Once that one is confirmed it publishes two, then four, and so on, and is back at full speed after a few round
trips. A queue that makes room slowly is so filled as fast as it makes room, and the other queues get each event about
twice on the way.

While one event is refused, no event is published: neither those of its SKU, whose order is promised, nor those of any
other, whose queue the relay does not know. What the database commits meanwhile waits in the outbox.
"""

from collections.abc import Callable, Collection
from operator import attrgetter
from random import random
from time import monotonic

import structlog

from allocation_worker.service_layer.outgoing import OutgoingEvent

FIRST_PAUSE = 0.5
"""Seconds."""
LONGEST_PAUSE = 30.0
"""Seconds."""

log = structlog.get_logger()


class Refusals:
    """Says how many events the relay may publish now.

    An episode begins with the first refusal. It ends when the relay has caught up with the outbox, or is back at full
    speed. It is logged with one line at its beginning and one at its end.

    Args:
        window: The most events in flight.
        clock: Seconds that never go back.
        jitter: A number from 0 to 1, drawn for each pause, which lasts from half to all of its full length.
    """

    def __init__(
        self, *, window: int, clock: Callable[[], float] = monotonic, jitter: Callable[[], float] = random
    ) -> None:
        self._window = window
        self._clock = clock
        self._jitter = jitter
        self._limit = window
        self._began: float | None = None
        self._paused_until = 0.0
        self._pauses = 0
        self._refused = 0
        self._accepted = 0
        self.first: int | None = None
        """The id of the first event refused among those that are in flight together."""

    @property
    def active(self) -> bool:
        """Whether an episode is under way."""
        return self._began is not None

    def room(self, in_flight: int) -> int:
        """Return how many events may be published now."""
        if not self.active:
            return self._limit - in_flight
        # What was refused comes again in order, with all that followed it, once nothing is in flight.
        return 0 if in_flight or self.pause_left() else self._limit

    def pause_left(self) -> float:
        """Return the seconds until the next attempt; 0 if there is no pause."""
        return max(0.0, self._paused_until - self._clock())

    def refused(self, events: Collection[OutgoingEvent]) -> None:
        """Take note of events that the broker has nacked."""
        first = min(events, key=attrgetter("id"))
        if self._began is None:
            self._began = self._clock()
            log.error(
                "events_refused",
                events=len(events),
                first_id=first.id,
                message_id=first.message_id,
                correlation_id=first.correlation_id,
                type=first.type,
            )
        self._refused += len(events)
        self.first = first.id if self.first is None else min(self.first, first.id)

    def accepted(self, count: int) -> None:
        """Take note of events that have reached their queues, in order, or that no queue is bound for."""
        self._accepted += count

    def all_answered(self) -> None:
        """Decide how to go on. To be called when nothing is in flight."""
        if self.first is not None:
            self._pause()
        elif self._accepted and self.active:
            self._limit = min(self._limit * 2, self._window)
            if self._limit == self._window:
                self.caught_up()
        self.first = None
        self._accepted = 0

    def caught_up(self) -> None:
        """End the episode, if one is under way: nothing is in flight, and the outbox holds nothing more."""
        if self._began is not None:
            log.info("events_accepted_again", seconds=round(self._clock() - self._began, 1), refusals=self._refused)
        self._began = None
        self._limit = self._window
        self._pauses = 0
        self._refused = 0

    def _pause(self) -> None:
        if self._accepted:  # the queue makes room, and will soon have made more
            self._pauses = 0
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._pauses, 10))
        self._pauses += 1
        self._paused_until = self._clock() + longest * (1 + self._jitter()) / 2
        self._limit = 1
