"""The pages that the relay is publishing, how far each of them is, and whose turn it is.

An event of a page waits, then it is in flight, then it is done: the broker has confirmed it, or no queue is bound for
it. A page whose events are all done can be marked. The pages stay in memory until then, so what has to be published
again need not be read again.

A shrink of 50,000 lines writes a hundred pages of one product. Only the order within a product is promised, so the
events of other products pass them. The pages of such a product form a lane. A lane's pages are read one by one, and no
more than a few of its events are in flight at a time, since whatever is published later waits behind them at the
broker. An event of that product from another page joins the lane, in the order of the ids.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, MutableMapping

from allocation_worker.service_layer.outgoing import OutgoingEvent, Page

LANES_IN_FLIGHT = 64
"""The most events of lanes in flight together."""
LANES_READ = 4
"""The most lanes of which a page is in memory before it is needed."""
ENOUGH = 10_000
"""So many events in memory are enough while there are lanes: events that wait for a lane keep their pages there."""


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


class _Lane:
    """The events of one product that others may pass, in the order of their ids.

    Attributes:
        opens_at: How many events of the shared queue must have been handed out before: some may be of this product.
        parts: Events, one by one or by the page. A page without events is to be read.
    """

    def __init__(self, opens_at: int) -> None:
        self.opens_at = opens_at
        self.parts: deque[deque[OutgoingEvent] | int] = deque()

    @property
    def next(self) -> tuple[int, int]:
        """The ids of the page and of the event that come next; 0 for an event that is not read."""
        part = self.parts[0]
        return (part, 0) if isinstance(part, int) else _position(part[0])

    @property
    def read(self) -> bool:
        """Whether the next events are in memory."""
        return not isinstance(self.parts[0], int)

    def take(self, limit: int) -> list[OutgoingEvent]:
        """Return the next events, `limit` at most."""
        taken: list[OutgoingEvent] = []
        while self.parts and len(taken) < limit:
            part = self.parts[0]
            if isinstance(part, int):
                break
            taken += [part.popleft() for _ in range(min(limit - len(taken), len(part)))]
            if not part:
                self.parts.popleft()
        return taken


class Pages:
    """The pages taken from the outbox and not marked yet.

    Args:
        window: The most events in flight.
    """

    def __init__(self, *, window: int) -> None:
        self._most_of_lanes = min(LANES_IN_FLIGHT, max(1, window // 4))
        self._pages: dict[int, _Progress] = {}
        self._done: list[_Progress] = []
        self._shared: deque[OutgoingEvent] = deque()
        self._lanes: dict[str, _Lane] = {}
        self._lanes_in_flight: set[int] = set()
        self._queued = 0
        self._handed_out = 0
        self._closed = False

    @property
    def ids(self) -> Collection[int]:
        """The ids of the pages."""
        return self._pages.keys()

    @property
    def shared(self) -> int:
        """The number of events that wait outside of lanes."""
        return len(self._shared)

    @property
    def enough(self) -> bool:
        """Whether no further pages are to be taken for now."""
        return bool(self._lanes) and sum(len(each.page.events) for each in self._pages.values()) >= ENOUGH

    @property
    def waiting(self) -> bool:
        """Whether there are events that may be published now, but for those in flight."""
        return bool(self._shared) or any(lane.read for lane in self._lanes.values())

    def take(self, pages: Iterable[Page], in_flight: MutableMapping[int, OutgoingEvent]) -> None:
        """Take pages, in their order. An event that is in flight from before does not wait, and counts for its page."""
        for page in pages:
            self._pages[page.id] = _Progress(page)
            self._adopt(page, in_flight)
            self._queue(self._pages[page.id], in_flight)

    def to_read(self, *, in_order: bool = False) -> list[int]:
        """Return the ids of the pages that are to be read now. `in_order` is that of `next`."""
        if self._closed or not self._lanes:
            return []
        lanes = self._open_lanes().values()
        unread = sorted(lane.next[0] for lane in lanes if not lane.read)
        read = len(lanes) - len(unread)
        # In their order, the first page cannot wait until another lane is done.
        return unread[: max(int(in_order), LANES_READ - read)]

    def read(self, pages: Iterable[Page], in_flight: MutableMapping[int, OutgoingEvent]) -> None:
        """Take the events of pages that were taken without them."""
        for page in pages:
            progress = self._pages[page.id]
            progress.page = page
            self._adopt(page, in_flight)
            lane = self._lanes[str(page.product)]
            lane.parts.popleft()
            if events := self._open_events(progress, in_flight):
                lane.parts.appendleft(events)
            if len(progress.done) == len(page.events):
                self._done.append(progress)
        self._drop_empty_lanes()

    def next(self, limit: int, *, in_order: bool = False) -> list[OutgoingEvent]:
        """Return the next events to publish, `limit` at most.

        Args:
            limit: Those in lanes have a limit of their own besides.
            in_order: Whether they come in the order of their ids, as if there were no lanes.
        """
        if in_order and self._lanes:
            return self._next_in_order(limit)
        taken = [self._shared.popleft() for _ in range(min(limit, len(self._shared)))]
        self._handed_out += len(taken)
        if self._lanes:
            taken += self._take_from_lanes(min(limit - len(taken), self._most_of_lanes - len(self._lanes_in_flight)))
        return taken

    def start_over(self, in_flight: Mapping[int, OutgoingEvent]) -> None:
        """Let everything that is neither done nor in flight wait again, in the order of the ids."""
        self._shared.clear()
        self._lanes.clear()
        self._queued = self._handed_out = 0
        self._lanes_in_flight.intersection_update(in_flight)
        for _, progress in sorted(self._pages.items()):
            self._queue(progress, in_flight)

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
        """Drop the pages of which nothing was published, and read none any more.

        A page of a lane stays, without its events: those that come after it must not pass it.
        """
        self._closed = True
        begun = {event.page for event in in_flight.values()}
        kept = {id_: each for id_, each in self._pages.items() if each.done or id_ in begun}
        for id_, each in self._pages.items():
            if id_ not in kept and each.page.product is not None:
                kept[id_] = _Progress(each.page._replace(events=()))
        self._pages = kept
        self.start_over(in_flight)

    def drop_all(self) -> None:
        """Drop all pages: another session reads them again."""
        self._pages.clear()
        self._done.clear()
        self.start_over({})

    def _adopt(self, page: Page, in_flight: MutableMapping[int, OutgoingEvent]) -> None:
        """Let events that are in flight from before count for their page."""
        for event in page.events:
            if event.id in in_flight:
                # It may have been published by itself: a crash of the database has undone the mark of its page.
                in_flight[event.id] = event

    def _open_events(self, progress: _Progress, in_flight: Collection[int]) -> deque[OutgoingEvent]:
        return deque(e for e in progress.page.events if e.id not in progress.done and e.id not in in_flight)

    def _queue(self, progress: _Progress, in_flight: Collection[int]) -> None:
        """Let the events of a page wait; pages come in the order of their ids."""
        page = progress.page
        events = self._open_events(progress, in_flight)
        if page.product is not None:
            if events or not page.events:
                lane = self._lanes.setdefault(page.product, _Lane(self._queued))
                lane.parts.append(events or page.id)
            return
        for event in events:
            lane_of = self._lanes.get(event.product or "") if self._lanes else None
            if lane_of is not None:
                lane_of.parts.append(deque([event]))
            else:
                self._shared.append(event)
                self._queued += 1

    def _open_lanes(self) -> dict[str, _Lane]:
        return {sku: lane for sku, lane in self._lanes.items() if lane.opens_at <= self._handed_out}

    def _take_from_lanes(self, limit: int) -> list[OutgoingEvent]:
        """Return the next events of the lanes that are open, of each the same number."""
        ready = {sku: lane for sku, lane in self._open_lanes().items() if lane.read}
        taken: list[OutgoingEvent] = []
        for number, (sku, lane) in enumerate(ready.items()):
            share = -(-(limit - len(taken)) // (len(ready) - number))
            taken += lane.take(share)
            # Whose turn it was stands last.
            self._lanes[sku] = self._lanes.pop(sku)
        self._lanes_in_flight |= {event.id for event in taken}
        self._drop_empty_lanes()
        return taken

    def _next_in_order(self, limit: int) -> list[OutgoingEvent]:
        taken: list[OutgoingEvent] = []
        while len(taken) < limit and (self._shared or self._lanes):
            # One that is not open waits for shared events, whose ids may be higher: a transaction may commit late.
            lane = min(self._open_lanes().values(), key=lambda lane: lane.next, default=None)
            if lane is None or (self._shared and _position(self._shared[0]) < lane.next):
                taken.append(self._shared.popleft())
                self._handed_out += 1
            elif lane.read:
                taken += lane.take(1)
                self._lanes_in_flight.add(taken[-1].id)
            else:
                break
            self._drop_empty_lanes()
        return taken

    def _drop_empty_lanes(self) -> None:
        self._lanes = {sku: lane for sku, lane in self._lanes.items() if lane.parts}

    def _finish(self, event: OutgoingEvent) -> _Progress | None:
        self._lanes_in_flight.discard(event.id)
        progress = None if event.page is None else self._pages.get(event.page)
        if progress is not None and event.id not in progress.done:
            progress.done.add(event.id)
            if len(progress.done) == len(progress.page.events):
                self._done.append(progress)
        return progress


def _position(event: OutgoingEvent) -> tuple[int, int]:
    return event.page or 0, event.id
