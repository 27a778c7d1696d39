"""The outbox of the store in memory, as the relay reads it.

The suite `tests/contract/test_pending.py` tests it and PostgreSQL alike.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import groupby

from allocation_worker.adapters import wire
from allocation_worker.service_layer.outgoing import OutgoingEvent, Page
from tests.fakes.unit_of_work import PLACES, FakeDatabase, State


class FakePending:
    """A session with the outbox.

    It looks at no page twice unless it has to, as early as it may: below its floor every page was handed out, and no
    transaction under way has numbered one.
    """

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self._floor = 0
        self._notified = False

    @property
    def _committed(self) -> State:
        return self._database.committed

    def acquire(self) -> bool:
        if self._database.relay not in {None, self}:
            return False
        self._database.relay = self
        self._database.listeners.append(self._notice)
        return True

    def fetch(self, limit: int, taken: Collection[int]) -> list[Page]:
        by_page = groupby(sorted(self._committed.outbox), key=lambda id_: id_ // PLACES)
        waiting = [
            (page, list(ids))
            for page, ids in by_page
            if page > self._floor and page not in taken and page not in self._committed.published
        ]
        fetched: list[Page] = []
        events = 0
        for page, ids in waiting:
            if events >= limit:
                break
            product = self._committed.page_products.get(page)
            own = [] if product else [self._event(id_, page) for id_ in ids]
            fetched.append(Page(page, own, product))
            events += len(own)
        if events < limit:
            self._floor = min([*self._database.numbered.values(), self._database.next_page]) - 1
        return fetched

    def read(self, pages: Collection[int]) -> list[Page]:
        found: list[Page] = []
        for page in sorted(pages):
            ids = sorted(id_ for id_ in self._committed.outbox if id_ // PLACES == page)
            events = [self._event(id_, page) for id_ in ids]
            found.append(Page(page, events, self._committed.page_products.get(page)))
        return found

    def mark_published(self, pages: Collection[int], unrouted: Collection[int]) -> None:
        fresh = set(pages) - self._committed.published
        self._committed.published |= fresh
        self._committed.unrouted |= {id_ for id_ in unrouted if id_ // PLACES in fresh}

    def oldest_unrouted(self) -> list[OutgoingEvent]:
        oldest: dict[str, OutgoingEvent] = {}
        for id_ in sorted(self._committed.unrouted):
            event = self._event(id_, None)
            oldest.setdefault(event.type, event)
        return list(oldest.values())

    def fetch_unrouted(self, types: Collection[str], limit: int, after: int) -> list[OutgoingEvent]:
        kept = [self._event(id_, None) for id_ in sorted(self._committed.unrouted) if id_ > after]
        return [event for event in kept if event.type in types][:limit]

    def remove_unrouted(self, ids: Collection[int]) -> None:
        self._committed.unrouted -= set(ids)

    def wait(self, timeout: float, wake_fd: int) -> bool:  # noqa: ARG002 - time stands still here
        """Whether there may be something new; whoever has a clock waits before."""
        notified, self._notified = self._notified, False
        return notified or timeout > 0

    def close(self) -> None:
        """Give up the lock."""
        if self._database.relay is self:
            self._database.relay = None
            self._database.listeners.remove(self._notice)

    def _notice(self) -> None:
        self._notified = True

    def _event(self, id_: int, page: int | None) -> OutgoingEvent:
        event, body = self._committed.outbox[id_]
        return OutgoingEvent(
            id=id_,
            page=page,
            routing_key=wire.routing_key(event.type),
            body=body,
            message_id=event.message_id,
            type=event.type,
            correlation_id=event.correlation_id,
            causation_id=event.causation_id,
            traceparent=event.traceparent,
            timestamp=int(self._database.now().timestamp()),
            tracestate=event.tracestate,
        )


@contextmanager
def open_pending(database: FakeDatabase) -> Iterator[FakePending]:
    """A session; leaving it gives up the lock."""
    pending = FakePending(database)
    try:
        yield pending
    finally:
        pending.close()
