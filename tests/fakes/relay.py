"""The relay's ports in memory, with a clock that moves only during waits.

The relay's own waits drive the test: each wait runs the next step of the script, and the last one stops the relay.
"""

import json
import select
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from threading import Event

from allocation_contracts.results import PublishResult
from allocation_worker.entrypoints.relay import Waker
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent, Page

Step = Callable[[], None]


def outgoing(
    id_: int, type_: str = "allocated.v1", page: int | None = None, product: str | None = None
) -> OutgoingEvent:
    """An event in a page of its own, unless another one is given."""
    return OutgoingEvent(
        id=id_,
        page=id_ if page is None else page,
        routing_key=type_.removesuffix(".v1"),
        body=b"{}" if product is None else json.dumps({"sku": product, "sequence": id_}).encode(),
        message_id=f"event-{id_}",
        type=type_,
        correlation_id="correlation",
        causation_id="cause",
        traceparent=None,
        timestamp=0,
    )


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeWaker(Waker):
    """Time passes at once.

    Attributes:
        waits: the timeout of each wait.
        on_wait: what else happens in each.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.waits: list[float] = []
        self.on_wait: Step = lambda: None

    def wait(self, timeout: float) -> None:
        self.waits.append(timeout)
        self.on_wait()
        self._clock.now += timeout
        self.clear()


class FakeOutbox:
    """The tables, and the script.

    Attributes:
        pages: the events of each page.
        products: the product of each page that others may pass.
        waiting: the ids of the pages that are not marked.
        published: the ids of events, in the order of marking their pages, or of removing them from `unrouted`.
        unrouted: the ids of events that are kept since no queue is bound for them.
        failures: names of methods that are to fail at their next call, with what.
        active_elsewhere: how many times `acquire` is still to be refused.
        sessions: how many were opened.
        fetches: the limit of each look at the pages.
        waits: the timeout of each wait for news.
    """

    def __init__(self, clock: Clock, stopping: Event) -> None:
        self.pages: dict[int, list[OutgoingEvent]] = {}
        self.products: dict[int, str] = {}
        self.waiting: set[int] = set()
        self.published: list[int] = []
        self.unrouted: set[int] = set()
        self.failures: dict[str, Exception] = {}
        self.active_elsewhere = 0
        self.sessions = 0
        self.fetches: list[int] = []
        self.waits: list[float] = []
        self.script: deque[Step] = deque()
        self._clock = clock
        self._stopping = stopping
        self._notified = False

    def write(self, *events: OutgoingEvent) -> None:
        for event in events:
            assert event.page is not None
            self.pages.setdefault(event.page, []).append(event)
            self.waiting.add(event.page)
        self._notified = True

    def event(self, id_: int) -> OutgoingEvent:
        """An event that is kept by itself."""
        [found] = [event for events in self.pages.values() for event in events if event.id == id_]
        return found._replace(page=None)

    @contextmanager
    def open(self) -> Iterator["FakePending"]:
        self.sessions += 1
        self.fail_if_told("open")
        yield FakePending(self)

    def fail_if_told(self, name: str) -> None:
        if failure := self.failures.pop(name, None):
            raise failure

    def wait(self, timeout: float, wake_fd: int) -> bool:
        self.waits.append(timeout)
        if timeout and not self._notified and not _readable(wake_fd):
            self._clock.now += timeout
            if self.script:
                self.script.popleft()()
            else:
                self._stopping.set()
        notified, self._notified = self._notified, False
        return notified or (timeout > 0 and not _readable(wake_fd))


class FakePending:
    """A session with it, which passes each page once, as the real one may."""

    def __init__(self, outbox: FakeOutbox) -> None:
        self._outbox = outbox
        self._passed: set[int] = set()

    def acquire(self) -> bool:
        self._outbox.fail_if_told("acquire")
        if self._outbox.active_elsewhere:
            self._outbox.active_elsewhere -= 1
            return False
        return True

    def fetch(self, limit: int, taken: Collection[int]) -> list[Page]:
        assert limit > 0
        self._outbox.fail_if_told("fetch")
        self._outbox.fetches.append(limit)
        pages: list[Page] = []
        for id_ in sorted(self._outbox.waiting - self._passed - set(taken)):
            if sum(len(page.events) for page in pages) < limit:
                product = self._outbox.products.get(id_)
                pages.append(Page(id_, [] if product else list(self._outbox.pages[id_]), product))
        self._passed |= {page.id for page in pages}
        return pages

    def read(self, pages: Collection[int]) -> list[Page]:
        self._outbox.fail_if_told("read")
        return [Page(id_, list(self._outbox.pages[id_]), self._outbox.products[id_]) for id_ in sorted(pages)]

    def mark_published(self, pages: Collection[int], unrouted: Collection[int]) -> None:
        self._outbox.fail_if_told("mark_published")
        for id_ in pages:
            assert id_ in self._outbox.waiting, f"page {id_} is marked twice"
            self._outbox.waiting.remove(id_)
            self._outbox.published += [e.id for e in self._outbox.pages[id_] if e.id not in unrouted]
        self._outbox.unrouted |= set(unrouted)

    def oldest_unrouted(self) -> list[OutgoingEvent]:
        oldest: dict[str, OutgoingEvent] = {}
        for id_ in sorted(self._outbox.unrouted):
            event = self._outbox.event(id_)
            oldest.setdefault(event.type, event)
        return list(oldest.values())

    def fetch_unrouted(self, types: Collection[str], limit: int, after: int) -> list[OutgoingEvent]:
        self._outbox.fail_if_told("fetch_unrouted")
        kept = [self._outbox.event(id_) for id_ in sorted(self._outbox.unrouted) if id_ > after]
        return [event for event in kept if event.type in types][:limit]

    def remove_unrouted(self, ids: Collection[int]) -> None:
        self._outbox.fail_if_told("remove_unrouted")
        self._outbox.published += sorted(set(ids) & self._outbox.unrouted)
        self._outbox.unrouted -= set(ids)

    def wait(self, timeout: float, wake_fd: int) -> bool:
        self._outbox.fail_if_told("wait")
        return self._outbox.wait(timeout, wake_fd)


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


class FakePublisher:
    """A broker that answers as told, and wakes the relay as it does.

    Attributes:
        answer: what it says to an event; None: nothing yet.
        sent: the ids published, in order.
        unanswered: those without an answer, in order.
        most_unanswered: the most that there ever were.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._connected = True
        self.answer: Callable[[OutgoingEvent], PublishResult | None] = lambda _event: PublishResult.CONFIRMED
        self.sent: list[int] = []
        self.unanswered: list[int] = []
        self.most_unanswered = 0
        self._results: list[MessageResult] = []

    @property
    def connected(self) -> bool:
        return self._connected

    @connected.setter
    def connected(self, connected: bool) -> None:
        self._connected = connected
        self._wake()

    def publish(self, batch: Sequence[OutgoingEvent]) -> None:
        assert self.connected
        for event in batch:
            assert event.id not in self.unanswered, f"{event.id} is in flight"
            self.sent.append(event.id)
            self.unanswered.append(event.id)
            self.most_unanswered = max(self.most_unanswered, len(self.unanswered))
            if kind := self.answer(event):
                self.resolve(kind, event.id)

    def resolve(self, kind: PublishResult, *ids: int) -> None:
        for id_ in ids:
            self.unanswered.remove(id_)
            self._results.append(MessageResult(id_, kind))
        self._wake()

    def take_results(self) -> list[MessageResult]:
        taken, self._results = self._results, []
        return taken
