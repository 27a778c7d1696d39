"""The relay: row -> confirmed publish -> mark. One is active; the others stand by."""

import os
import select
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from threading import Event
from time import monotonic
from typing import Protocol

import structlog

from allocation_contracts.results import PublishResult
from allocation_worker.entrypoints.backoff import Backoff
from allocation_worker.entrypoints.progress import Progress
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent
from allocation_worker.service_layer.ports import StoreContention, StoreUnavailable

OFFER_AGAIN_EVERY = 5.0
PRUNE_EVERY = 60.0

log = structlog.get_logger()


class Waker:
    """Wakes a thread that waits in select(); `wake` may be called from any thread or signal handler."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self) -> None:
        try:
            os.write(self._write_fd, b"w")
        except BlockingIOError:
            return  # full of wake-ups already

    def clear(self) -> None:
        try:
            while os.read(self.fd, 4096):
                pass
        except BlockingIOError:
            return

    def wait(self, timeout: float) -> None:
        select.select([self.fd], [], [], timeout)
        self.clear()


class Pending(Protocol):
    """A session with the outbox. Any method may raise StoreUnavailable."""

    def acquire(self) -> bool: ...
    def fetch(self, limit: int, in_flight: Collection[int]) -> list[OutgoingEvent]: ...
    def start_over(self) -> None: ...
    def mark_published(self, ids: Collection[int]) -> None: ...
    def set_aside(self, ids: Collection[int]) -> None: ...
    def oldest_set_aside(self) -> list[OutgoingEvent]: ...
    def take_up(self, types: Collection[str]) -> None: ...
    def wait(self, timeout: float, wake_fd: int) -> bool: ...


class Publisher(Protocol):
    """Publishes in the order given; answers each event with one result."""

    @property
    def connected(self) -> bool: ...
    def publish(self, batch: Sequence[OutgoingEvent]) -> None: ...
    def take_results(self) -> list[MessageResult]: ...


class Relay:
    """Publishes the outbox until told to stop.

    Args:
        open_pending: opens a session with the outbox.
        publisher: wakes `waker` when it has results, or its connection comes or goes.
        prune_some: deletes a little history; True if there may be more.
        waker: wakes the loop.
        stopping: set it, then wake the loop, to stop.
        window: the most events in flight.
        poll: seconds between looks at the outbox where nothing wakes us.
    """

    def __init__(
        self,
        open_pending: Callable[[], AbstractContextManager[Pending]],
        publisher: Publisher,
        prune_some: Callable[[], bool],
        *,
        waker: Waker,
        stopping: Event,
        window: int,
        poll: float,
    ) -> None:
        self._open_pending = open_pending
        self._publisher = publisher
        self._prune_some = prune_some
        self._waker = waker
        self._stopping = stopping
        self._window = window
        self._poll = poll
        self._in_flight: dict[int, OutgoingEvent] = {}
        self._unwanted: set[str] = set()
        self._refused_from: int | None = None
        self._more = True
        self._prune_due = monotonic() + PRUNE_EVERY
        self._offer_due = 0.0
        self._progress = Progress("events published")

    def run(self) -> None:
        """Work until told to stop, through any absence of either server."""
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                with self._open_pending() as pending:
                    if self._become_active(pending):
                        backoff = Backoff()
                        self._publish_all(pending)
            except (StoreUnavailable, StoreContention) as error:
                pause = backoff.next()
                log.warning("waiting for the database", seconds=round(pause, 1), error=str(error))
                self._waker.wait(pause)

    def _become_active(self, pending: Pending) -> bool:
        told = False
        while not self._stopping.is_set():
            if pending.acquire():
                log.info("relay is active")
                return True
            if not told:
                log.info("relay stands by: another one is active")
                told = True
            self._waker.wait(self._poll)
        return False

    def _publish_all(self, pending: Pending) -> None:
        self._unwanted = {event.type for event in pending.oldest_set_aside()}
        self._more = True
        while not self._stopping.is_set():
            settled = self._settle(pending)
            published = self._publish_some(pending)
            self._offer_again(pending)
            idle = not settled and not published
            if idle:
                self._prune()
            self._more |= pending.wait(self._poll if idle else 0, self._waker.fd)
            self._waker.clear()
        self._finish(pending)

    def _finish(self, pending: Pending) -> None:
        """Wait a little for the confirms of what is in flight; what stays unmarked is published again."""
        deadline = monotonic() + 2 * self._poll
        while self._in_flight and monotonic() < deadline:
            self._settle(pending)
            if self._in_flight:
                self._waker.wait(self._poll / 4)

    def _publish_some(self, pending: Pending) -> int:
        room = self._window - len(self._in_flight)
        # A refused event comes again with all that followed it, in order, once nothing is in flight.
        blocked = not self._publisher.connected or room < max(1, self._window // 4) or self._refused_from is not None
        if blocked or not self._more:
            return 0
        batch = pending.fetch(room, self._in_flight)
        self._more = len(batch) == room
        unwanted = [event.id for event in batch if event.type in self._unwanted]
        if unwanted:
            pending.set_aside(unwanted)
            batch = [event for event in batch if event.type not in self._unwanted]
        self._send(batch)
        return len(batch) + len(unwanted)

    def _send(self, batch: Iterable[OutgoingEvent]) -> None:
        events = {event.id: event for event in batch}
        if events:
            self._in_flight |= events
            self._publisher.publish(list(events.values()))

    def _settle(self, pending: Pending) -> int:
        results = self._publisher.take_results()
        ended: dict[PublishResult, list[OutgoingEvent]] = {kind: [] for kind in PublishResult}
        for each in results:
            # Gone from here before it is marked: if marking fails, the event is pending, and is published again.
            ended[each.result].append(self._in_flight.pop(each.id))
        if refused := ended[PublishResult.NACKED]:
            log.error("a queue refused events; they will be published again", events=len(refused))
            self._refused_from = min(self._refused_from or refused[0].id, *(event.id for event in refused))
        if refused or ended[PublishResult.LOST]:
            pending.start_over()
            self._more = True
        self._mark(pending, ended[PublishResult.CONFIRMED])
        self._set_aside(pending, ended[PublishResult.RETURNED])
        if not self._in_flight:
            self._refused_from = None
        return len(results)

    def _mark(self, pending: Pending, confirmed: list[OutgoingEvent]) -> None:
        if self._refused_from is not None:
            confirmed = [event for event in confirmed if event.id < self._refused_from]
        if not confirmed:
            return
        pending.mark_published([event.id for event in confirmed])
        self._progress.add(len(confirmed))
        wanted = {event.type for event in confirmed} & self._unwanted
        if wanted:
            log.info("events are wanted again", types=sorted(wanted))
            self._unwanted -= wanted
            pending.take_up(wanted)
            self._more = True

    def _set_aside(self, pending: Pending, returned: list[OutgoingEvent]) -> None:
        if not returned:
            return
        pending.set_aside([event.id for event in returned])
        types = {event.type for event in returned} - self._unwanted
        if types:
            log.warning("no queue is bound for these events; they are kept and offered again", types=sorted(types))
            self._unwanted |= types

    def _offer_again(self, pending: Pending) -> None:
        if self._unwanted and self._publisher.connected and monotonic() >= self._offer_due:
            self._offer_due = monotonic() + OFFER_AGAIN_EVERY
            self._send(event for event in pending.oldest_set_aside() if event.id not in self._in_flight)

    def _prune(self) -> None:
        if monotonic() < self._prune_due:
            return
        try:
            more = self._prune_some()
        except (StoreUnavailable, StoreContention) as error:
            # It has a connection of its own; if the relay's is gone, too, that will show.
            log.warning("history cannot be pruned now", error=str(error))
            more = False
        if not more:
            self._prune_due = monotonic() + PRUNE_EVERY
