"""The relay: fetch pages from the outbox, publish their events, and mark each page once all of it is confirmed.

One relay is active; the others stand by. What becomes of events that a queue refuses is in `refusals`, of those that no
queue is bound for in `unrouted`.
"""

import os
import select
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import chain
from threading import Event
from time import monotonic

import structlog

from allocation_contracts.results import PublishResult
from allocation_worker.entrypoints.availability import until_available
from allocation_worker.entrypoints.pages import Pages
from allocation_worker.entrypoints.progress import Progress
from allocation_worker.entrypoints.refusals import Refusals
from allocation_worker.entrypoints.unrouted import Unrouted
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import EventPublisher, Pending

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


class Relay:
    """Publishes the outbox until told to stop.

    Args:
        open_pending: Opens a session with the outbox.
        publisher: Wakes `waker` when it has results, or its connection comes or goes.
        waker: Wakes the loop.
        active: Is set while this relay is the active one.
        stopping: Set it, then wake the loop, to stop.
        window: The most events in flight.
        poll: Seconds between looks at the outbox where nothing wakes us.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        open_pending: Callable[[], AbstractContextManager[Pending]],
        publisher: EventPublisher,
        *,
        waker: Waker,
        active: Event,
        stopping: Event,
        window: int,
        poll: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._open_pending = open_pending
        self._publisher = publisher
        self._waker = waker
        self._active = active
        self._stopping = stopping
        self._window = window
        self._poll = poll
        self._clock = clock
        self._in_flight: dict[int, OutgoingEvent] = {}
        self._refusals = Refusals(window=window, clock=clock)
        self._pages = Pages(window=window)
        self._unrouted = Unrouted(clock=clock)
        self._more = True
        self._progress = Progress("events_published", clock=clock)

    def run(self) -> None:
        """Work until told to stop, through any absence of either server."""
        while not self._stopping.is_set():
            until_available(
                self._session,
                stopping=self._stopping,
                waiting_for="the database",
                sleep=self._waker.wait,
                clock=self._clock,
            )

    def _session(self) -> None:
        with self._open_pending() as pending:
            if self._become_active(pending):
                self._active.set()
                try:
                    self._publish_all(pending)
                finally:
                    self._active.clear()

    def _become_active(self, pending: Pending) -> bool:
        told = False
        while not self._stopping.is_set():
            if pending.acquire():
                log.info("ready", role="active")
                return True
            if not told:
                log.info("ready", role="standby", detail="Another relay is active.")
                told = True
            self._waker.wait(self._poll)
        return False

    def _publish_all(self, pending: Pending) -> None:
        self._unrouted.load(pending)
        self._pages.drop_all()
        self._more = True
        while not self._stopping.is_set():
            answered = self._take_results(pending)
            published = self._publish_some(pending)
            self._offer_again(pending)
            idle = not answered and not published
            self._more |= pending.wait(self._pause() if idle else 0, self._waker.fd)
            self._waker.clear()
        self._finish(pending)

    def _pause(self) -> float:
        """Return how long to wait for news, in seconds."""
        return min(self._poll, self._refusals.pause_left() or self._poll)

    def _finish(self, pending: Pending) -> None:
        """Publish the rest of pages that were begun, and wait a little; what stays unmarked is published again."""
        self._pages.drop_unbegun(self._in_flight)
        deadline = self._clock() + 2 * self._poll
        while self._clock() < deadline and (self._in_flight or (self._pages.waiting and self._publisher.connected)):
            if room := self._room():
                self._publish_pages(pending, room)
            if not self._take_results(pending):
                self._waker.wait(self._poll / 4)

    def _publish_some(self, pending: Pending) -> int:
        room = self._room()
        if not room:
            return 0
        if self._unrouted.due_first and not self._pages.ids:
            kept = self._unrouted.fetch(pending, room, self._in_flight)
            if self._unrouted.due_first:
                return self._publish(kept)
        fetching = self._more and not self._unrouted.due_first and not self._pages.enough
        if fetching and self._pages.shared < room:
            self._fetch(pending, room - self._pages.shared)
        self._read(pending)
        published = self._publish_pages(pending, room)
        if not (self._in_flight or self._more or self._pages.ids):
            self._refusals.caught_up()
        return published

    def _fetch(self, pending: Pending, limit: int) -> None:
        pages = pending.fetch(limit, self._pages.ids)
        self._more = sum(len(page.events) for page in pages) >= limit
        self._pages.take(pages, self._in_flight)

    def _read(self, pending: Pending) -> None:
        # A page may have been published all but its mark, and then another one is to be read.
        while (ids := self._pages.to_read(in_order=self._refusals.active)) and (pages := pending.read(ids)):
            self._pages.read(pages, self._in_flight)
            self._mark(pending)

    def _publish_pages(self, pending: Pending, room: int) -> int:
        # What was refused comes first again, with all that followed it.
        events = self._pages.next(room, in_order=self._refusals.active)
        if not (types := self._unrouted.types):
            return self._publish(events)
        unrouted = [event for event in events if event.type in types]
        self._pages.unrouted(unrouted)
        self._publish(event for event in events if event.type not in types)
        self._mark(pending)
        return len(events)

    def _room(self) -> int:
        """Return how many events to publish now."""
        if not self._publisher.connected:
            return 0
        room = self._refusals.room(len(self._in_flight))
        # The window is filled by the quarter: a fetch costs more than a publication.
        worthwhile = self._refusals.active or room >= max(1, self._window // 4)
        return room if worthwhile else 0

    def _publish(self, batch: Iterable[OutgoingEvent]) -> int:
        events = {event.id: event for event in batch}
        if events:
            self._in_flight |= events
            self._publisher.publish(list(events.values()))
        return len(events)

    def _take_results(self, pending: Pending) -> int:
        results = self._publisher.take_results()
        answered: dict[PublishResult, list[OutgoingEvent]] = {kind: [] for kind in PublishResult}
        for each in results:
            answered[each.result].append(self._in_flight.pop(each.id))
        if results:
            self._take_in(pending, answered)
        if not self._in_flight:
            self._refusals.all_answered()
        return len(results)

    def _take_in(self, pending: Pending, answered: dict[PublishResult, list[OutgoingEvent]]) -> None:
        confirmed, refused = answered[PublishResult.CONFIRMED], answered[PublishResult.NACKED]
        returned = answered[PublishResult.RETURNED]
        if refused:
            self._refusals.refused(refused)
        self._unrouted.returned(returned)
        self._pages.unrouted(returned)
        self._refusals.accepted(len(returned))
        # What is refused has a queue, too.
        self._unrouted.routed(chain(confirmed, refused))
        self._confirm(pending, confirmed)
        self._mark(pending)
        if answered[PublishResult.LOST] or self._refusals.first is not None:
            self._pages.start_over(self._in_flight)
            self._unrouted.start_over()

    def _confirm(self, pending: Pending, confirmed: list[OutgoingEvent]) -> None:
        if self._refusals.first is not None:
            # Those after a refused event are published again, after it, for the sake of their order.
            confirmed = [event for event in confirmed if event.id < self._refusals.first]
        if not confirmed:
            return
        self._pages.confirmed(confirmed)
        self._refusals.accepted(len(confirmed))
        self._progress.add(len(confirmed))
        if kept := [event.id for event in confirmed if event.page is None]:
            pending.remove_unrouted(kept)

    def _mark(self, pending: Pending) -> None:
        pages, unrouted = self._pages.take_done()
        if pages:
            pending.mark_published(pages, unrouted)

    def _offer_again(self, pending: Pending) -> None:
        if self._publisher.connected and not self._refusals.active:
            self._publish(event for event in self._unrouted.offer(pending) if event.id not in self._in_flight)
