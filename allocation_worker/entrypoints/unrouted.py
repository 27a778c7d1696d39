"""Events that no queue is bound for: they are set aside in the outbox, offered again, and published once a queue is.

Whether a queue is bound depends on the routing key only, and so on the event's type. So the oldest event of each such
type is offered to the broker now and then. Once the broker has a queue for it, all events of the type are taken up in
their order.
"""

from collections.abc import Callable, Iterable, Sequence
from time import monotonic

import structlog

from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import Pending

OFFER_AGAIN_EVERY = 5.0
"""Seconds."""

log = structlog.get_logger()


class Unrouted:
    """The types of events that no queue is bound for.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._types: set[str] = set()
        self._offer_due = 0.0

    def load(self, pending: Pending) -> None:
        """Read from the outbox which types are set aside."""
        self._types = {event.type for event in pending.oldest_set_aside()}

    def divert(self, pending: Pending, batch: Sequence[OutgoingEvent]) -> Sequence[OutgoingEvent]:
        """Set aside the events of a batch that no queue is bound for. Return the others, in their order."""
        unrouted = [event.id for event in batch if event.type in self._types]
        if not unrouted:
            return batch
        pending.set_aside(unrouted)
        return [event for event in batch if event.type not in self._types]

    def returned(self, pending: Pending, events: Sequence[OutgoingEvent]) -> None:
        """Set aside events that the broker has returned."""
        if not events:
            return
        pending.set_aside([event.id for event in events])
        types = {event.type for event in events} - self._types
        if types:
            log.warning(
                "events_unrouted",
                types=sorted(types),
                detail="No queue is bound for these types; they are kept, and offered again.",
            )
            self._types |= types

    def routed(self, pending: Pending, events: Iterable[OutgoingEvent]) -> bool:
        """Take up what is set aside of the types of these events, which have a queue.

        Returns:
            Whether any were set aside: there is more to fetch.
        """
        types = {event.type for event in events} & self._types if self._types else set()
        if not types:
            return False
        log.info("events_routed_again", types=sorted(types))
        self._types -= types
        pending.take_up(types)
        return True

    def due(self, pending: Pending) -> list[OutgoingEvent]:
        """Return the events that are to be offered now: the oldest of each type, every few seconds."""
        if not self._types or self._clock() < self._offer_due:
            return []
        self._offer_due = self._clock() + OFFER_AGAIN_EVERY
        return pending.oldest_set_aside()
