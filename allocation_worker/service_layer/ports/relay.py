"""What the relay needs: the outbox, and a publisher of events."""

from collections.abc import Collection, Sequence
from typing import Protocol

from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent, Page


class Pending(Protocol):
    """A session with the outbox, for the relay. Any method may raise StoreUnavailableError or StoreContentionError."""

    def acquire(self) -> bool:
        """Become the one reader of the outbox, until the session ends. Return False while another session is."""

    def fetch(self, limit: int, taken: Collection[int]) -> list[Page]:
        """Return the first pages that wait to be published, as few as hold `limit` events, in the order of their ids.

        Those whose ids are in `taken` and those marked are left out. A page that was returned may come again only in
        another session. The events of a product are in the order of their sequence, in a page and from page to page.

        Pages that have a product come without their events, and do not count for the limit. No page without a product
        comes before those with one that have a lower id.
        """

    def read(self, pages: Collection[int]) -> list[Page]:
        """Return these pages, which were fetched without their events, with them, in the order of their ids."""

    def mark_published(self, pages: Collection[int], unrouted: Collection[int]) -> None:
        """Mark these pages as published. The mark may be lost in a crash of the database.

        Args:
            pages: Their ids.
            unrouted: The ids of those of their events that no queue is bound for. They are kept with the mark, in one
                transaction, for `oldest_unrouted` and `fetch_unrouted`.
        """

    def oldest_unrouted(self) -> list[OutgoingEvent]:
        """Return the first kept event of each type."""

    def fetch_unrouted(self, types: Collection[str], limit: int, after: int) -> list[OutgoingEvent]:
        """Return the first kept events of these types whose ids are above `after`, in the order of their ids."""

    def remove_unrouted(self, ids: Collection[int]) -> None:
        """Keep these events no longer: they are published. Their removal may be lost in a crash of the database."""

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
