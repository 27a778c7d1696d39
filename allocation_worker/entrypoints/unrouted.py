"""Events that no queue is bound for: they are kept beside the outbox, offered again, and published once a queue is.

Whether a queue is bound depends on the routing key only, and so on the event's type. So the oldest event of each such
type is offered to the broker now and then. Once the broker has a queue for it, all kept events of the type are
published in their order, before any page that follows.
"""

from collections.abc import Callable, Collection, Iterable
from time import monotonic

import structlog

from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import Pending

OFFER_AGAIN_EVERY = 5.0
"""Seconds."""

log = structlog.get_logger()


class Unrouted:
    """The types of events that no queue is bound for, and of those that were kept and have a queue again.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._types: set[str] = set()
        self._routed_again: set[str] = set()
        self._after = 0
        self._offer_due = 0.0

    @property
    def types(self) -> Collection[str]:
        """The types whose events are to be kept, not published: no queue is bound, or older ones come first."""
        return self._types | self._routed_again

    @property
    def due_first(self) -> bool:
        """Whether kept events have a queue again. They are published before further pages."""
        return bool(self._routed_again)

    def load(self, pending: Pending) -> None:
        """Read which types are kept."""
        self._types = {event.type for event in pending.oldest_unrouted()}
        self._routed_again = set()

    def returned(self, events: Iterable[OutgoingEvent]) -> None:
        """Take note of events that the broker has returned."""
        types = {event.type for event in events}
        self._routed_again -= types
        types -= self._types
        if types:
            log.warning(
                "events_unrouted",
                types=sorted(types),
                detail="No queue is bound for these types; they are kept, and offered again.",
            )
            self._types |= types

    def routed(self, events: Iterable[OutgoingEvent]) -> None:
        """Take note of events that the broker has a queue for."""
        if not self._types:
            return
        types = {event.type for event in events} & self._types
        if types:
            log.info("events_routed_again", types=sorted(types))
            self._types -= types
            self._routed_again |= types
            self._after = 0

    def start_over(self) -> None:
        """Let `fetch` bring again what is still kept."""
        self._after = 0

    def fetch(self, pending: Pending, limit: int, in_flight: Collection[int]) -> list[OutgoingEvent]:
        """Return the next kept events that have a queue again, in order. Once there are none, pages may follow."""
        fetched = pending.fetch_unrouted(self._routed_again, limit, self._after)
        if not fetched and self._after:
            # What could not be removed is there still.
            fetched = pending.fetch_unrouted(self._routed_again, limit, 0)
        if fetched:
            self._after = fetched[-1].id
        elif not in_flight:
            self._routed_again = set()
        return [event for event in fetched if event.id not in in_flight]

    def offer(self, pending: Pending) -> list[OutgoingEvent]:
        """Return the events that are to be offered now: the oldest of each type, every few seconds."""
        if not self._types or self._clock() < self._offer_due:
            return []
        self._offer_due = self._clock() + OFFER_AGAIN_EVERY
        return [event for event in pending.oldest_unrouted() if event.type in self._types]
