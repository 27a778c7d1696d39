"""The pages that the relay is publishing, and how far each of them is.

An event of a page waits, then it is in flight, then it is done: the broker has confirmed it, or no queue is bound for
it. A page whose events are all done can be marked. The pages stay in memory until then, so what has to be published
again need not be read again.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, MutableMapping

from allocation_worker.service_layer.outgoing import OutgoingEvent, Page


class _Progress:
    """How far a page is.

    Attributes:
        page: The page.
        done: The ids of the events that are done.
        unrouted: Those of them that no queue is bound for.
    """

    __slots__ = ("done", "page", "unrouted")

    def __init__(self, page: Page) -> None:
        self.page = page
        self.done: set[int] = set()
        self.unrouted: list[int] = []


class Pages:
    """The pages taken from the outbox and not marked yet."""

    def __init__(self) -> None:
        self._pages: dict[int, _Progress] = {}
        self._done: list[_Progress] = []
        self._waiting: deque[OutgoingEvent] = deque()

    @property
    def ids(self) -> Collection[int]:
        """The ids of the pages."""
        return self._pages.keys()

    @property
    def waiting(self) -> int:
        """The number of events that wait to be published."""
        return len(self._waiting)

    def take(self, pages: Iterable[Page], in_flight: MutableMapping[int, OutgoingEvent]) -> None:
        """Take pages, in their order. An event that is in flight from before does not wait, and counts for its page."""
        for page in pages:
            self._pages[page.id] = _Progress(page)
            for event in page.events:
                if event.id in in_flight:
                    # It may have been published by itself: a crash of the database has undone the mark of its page.
                    in_flight[event.id] = event
                else:
                    self._waiting.append(event)

    def next(self, limit: int) -> list[OutgoingEvent]:
        """Return the next events to publish, `limit` at most, in order."""
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(limit, len(waiting)))]

    def start_over(self, in_flight: Mapping[int, OutgoingEvent]) -> None:
        """Let everything that is neither done nor in flight wait again, in the order of the ids."""
        self._waiting = deque(
            event
            for _, progress in sorted(self._pages.items())
            for event in progress.page.events
            if event.id not in progress.done and event.id not in in_flight
        )

    def confirmed(self, events: Iterable[OutgoingEvent]) -> None:
        """Take note of events that the broker has confirmed. Those of pages that were dropped are ignored."""
        for event in events:
            self._finish(event)

    def unrouted(self, events: Iterable[OutgoingEvent]) -> None:
        """Take note of events that no queue is bound for. Those of pages that were dropped are ignored."""
        for event in events:
            if progress := self._finish(event):
                progress.unrouted.append(event.id)

    def take_done(self) -> tuple[list[int], list[int]]:
        """Drop the pages whose events are all done. Return their ids, and those of their unrouted events."""
        done, self._done = self._done, []
        for each in done:
            del self._pages[each.page.id]
        return [each.page.id for each in done], [id_ for each in done for id_ in each.unrouted]

    def drop_unbegun(self, in_flight: Mapping[int, OutgoingEvent]) -> None:
        """Drop the pages of which nothing was published."""
        begun = {event.page for event in in_flight.values()}
        self._pages = {id_: each for id_, each in self._pages.items() if each.done or id_ in begun}
        self.start_over(in_flight)

    def drop_all(self) -> None:
        """Drop all pages: another session reads them again."""
        self._pages.clear()
        self._done.clear()
        self._waiting.clear()

    def _finish(self, event: OutgoingEvent) -> _Progress | None:
        progress = None if event.page is None else self._pages.get(event.page)
        if progress is not None and event.id not in progress.done:
            progress.done.add(event.id)
            if len(progress.done) == len(progress.page.events):
                self._done.append(progress)
        return progress
