"""What the relay needs: the outbox, and a publisher of events."""

from collections.abc import Collection, Sequence
from typing import Protocol

from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent


class Pending(Protocol):
    """A session with the outbox, for the relay. Any method may raise StoreUnavailableError or StoreContentionError."""

    def acquire(self) -> bool:
        """Become the one reader of the outbox, until the session ends. Return False while another session is."""

    def fetch(self, limit: int, in_flight: Collection[int]) -> list[OutgoingEvent]:
        """Return the first events that wait to be published, `limit` at most, in the order of their ids.

        Those whose ids are `in_flight`, those set aside and those marked are left out. The ids of a product's events
        are in the order of their sequence.
        """

    def start_over(self) -> None:
        """Let `fetch` bring again what it brought before and what was not marked."""

    def mark_published(self, ids: Collection[int]) -> None:
        """Mark these events as published. The mark may be lost in a crash of the database."""

    def set_aside(self, ids: Collection[int]) -> None:
        """Keep these events out of `fetch` until they are taken up: no queue is bound for them."""

    def oldest_set_aside(self) -> list[OutgoingEvent]:
        """Return the first event set aside of each type."""

    def take_up(self, types: Collection[str]) -> None:
        """Let `fetch` bring the events of these types that were set aside."""

    def wait(self, timeout: float, wake_fd: int) -> bool:
        """Wait until an event is committed, `wake_fd` can be read, or `timeout` seconds have passed; perhaps less.

        Returns:
            Whether there may be new events: one was committed, or the time passed in which a notice may have been lost.
        """


class EventPublisher(Protocol):
    """Publishes events in the order given. Exactly one result comes for each."""

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached; what is published while it cannot is lost."""

    def publish(self, batch: Sequence[OutgoingEvent]) -> None:
        """Publish these events, in their order, without waiting for their results."""

    def take_results(self) -> list[MessageResult]:
        """Return the results that have come since the last call, perhaps none."""
