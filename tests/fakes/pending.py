"""The outbox of the store in memory, as the relay reads it.

The suite `tests/contract/test_pending.py` tests it and PostgreSQL alike.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from allocation_worker.adapters import wire
from allocation_worker.service_layer.outgoing import OutgoingEvent
from tests.fakes.unit_of_work import FakeDatabase, OutboxRow


class FakePending:
    """A session with the outbox.

    It looks at no row twice unless it has to, as early as it may: below its floor every row was handed out, and no
    transaction under way has numbered one.
    """

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self._floor = 0
        self._notified = False

    def acquire(self) -> bool:
        if self._database.relay not in {None, self}:
            return False
        self._database.relay = self
        self._database.listeners.append(self._notice)
        return True

    def fetch(self, limit: int, in_flight: Collection[int]) -> list[OutgoingEvent]:
        rows = self._database.committed.outbox
        waiting = [
            id_
            for id_ in sorted(rows)
            if id_ > self._floor and id_ not in in_flight and not (rows[id_].published or rows[id_].set_aside)
        ]
        if len(waiting) < limit:
            self._floor = min([*self._database.numbered.values(), self._database.next_id]) - 1
        return [_event(id_, rows[id_]) for id_ in waiting[:limit]]

    def start_over(self) -> None:
        self._floor = 0

    def mark_published(self, ids: Collection[int]) -> None:
        for id_ in ids:
            self._database.committed.outbox[id_].published = True

    def set_aside(self, ids: Collection[int]) -> None:
        for row in map(self._database.committed.outbox.__getitem__, ids):
            row.set_aside = row.set_aside or not row.published

    def oldest_set_aside(self) -> list[OutgoingEvent]:
        oldest: dict[str, OutgoingEvent] = {}
        for id_, row in sorted(self._database.committed.outbox.items()):
            if row.set_aside and not row.published:
                oldest.setdefault(row.event.type, _event(id_, row))
        return list(oldest.values())

    def take_up(self, types: Collection[str]) -> None:
        for row in self._database.committed.outbox.values():
            if row.event.type in types and not row.published:
                row.set_aside = False
        self._floor = 0

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


def _event(id_: int, row: OutboxRow) -> OutgoingEvent:
    event = row.event
    return OutgoingEvent(
        id=id_,
        routing_key=wire.routing_key(event.type),
        body=row.body,
        message_id=event.message_id,
        type=event.type,
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        traceparent=event.traceparent,
        timestamp=1_800_000_000,
    )


@contextmanager
def open_pending(database: FakeDatabase) -> Iterator[FakePending]:
    """A session; leaving it gives up the lock."""
    pending = FakePending(database)
    try:
        yield pending
    finally:
        pending.close()
