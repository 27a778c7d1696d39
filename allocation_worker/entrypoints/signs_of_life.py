"""The signs of life of a process: what each loop last did. A thread writes them every second.

The loops know nothing of it: what they are given is wrapped, so that each call that a loop makes anyway is a sign.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Event
from time import monotonic, time
from typing import Generic, TypeVar

import structlog

from allocation_worker.entrypoints.relay import Waker
from allocation_worker.service_layer.outcomes import Outcome, SetAside
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent
from allocation_worker.service_layer.ports import Delivered, Deliveries, EventPublisher, Pending, StoreError

D = TypeVar("D", bound=Delivered)

WRITE_EVERY = 1.0
"""Seconds."""

IDLE_EVERY = 600.0
"""Seconds without work after which the log says so, again and again."""

log = structlog.get_logger()


class Loop:
    """The last sign of one loop. Each field is written by one thread and read by another.

    Args:
        name: For people, such as `worker of allocation.orders`.
        needs_connection: Whether the loop is of no use without a connection to the broker.
    """

    def __init__(self, name: str, *, needs_connection: bool = False) -> None:
        self.name = name
        self.needs_connection = needs_connection
        self.beat: float | None = None
        self.busy_since: float | None = None
        self.connected_since: float | None = None
        self.settled: float | None = None
        self.waiting_for: str | None = None

    def move(self) -> None:
        """Note that the loop goes round."""
        self.beat = monotonic()

    def take(self) -> None:
        """Note that the loop has work."""
        self.move()
        if self.busy_since is None:
            self.busy_since = self.beat

    def settle(self, *, more: bool = False) -> None:
        """Note that work is done; `more` if some is left."""
        self.move()
        self.settled = time()
        self.waiting_for = None
        self.busy_since = self.beat if more else None

    def rest(self) -> None:
        """Note that there is nothing to do; until then, the loop does not count as stalled."""
        self.beat = self.busy_since = self.waiting_for = None


class SignsOfLife:
    """What the loops of this process last did.

    Args:
        verb: The verb that the process runs.
        limit: The seconds from which a loop counts as stalled.
        pid: The id of the process.
    """

    def __init__(self, verb: str, *, limit: float, pid: int) -> None:
        self._verb = verb
        self._limit = limit
        self._pid = pid
        self._loops: list[Loop] = []
        self.waiting_for = "the database"
        self.started = False

    def loop(self, name: str, *, needs_connection: bool = False) -> Loop:
        """Return a new loop of this process."""
        made = Loop(name, needs_connection=needs_connection)
        self._loops.append(made)
        return made

    @property
    def settled(self) -> float | None:
        """The time at which work was done last, by the clock on the wall; None if none was."""
        return max((loop.settled for loop in self._loops if loop.settled is not None), default=None)

    def waits(self) -> list[str]:
        """Return what the loops wait for, except for work."""
        return sorted({loop.waiting_for for loop in self._loops if loop.waiting_for is not None})

    def now(self) -> dict[str, object]:
        """Return them as `service_layer.health` reads them."""
        return {
            "verb": self._verb,
            "pid": self._pid,
            "written": monotonic(),
            "limit": self._limit,
            "started": self.started,
            "waiting_for": self.waiting_for,
            "loops": [dict(vars(loop)) for loop in self._loops],
        }


class Idleness:
    """Says in the log now and then that the process is there, while it has nothing to do.

    Args:
        signs: What its loops last did.
        clock: Returns the time on the wall, in seconds.
    """

    def __init__(self, signs: SignsOfLife, *, clock: Callable[[], float] = time) -> None:
        self._signs = signs
        self._clock = clock
        self._began = self._told = clock()

    def look(self) -> None:
        """Log `idle` if it is time for it."""
        now = self._clock()
        since = max(self._began, self._signs.settled or 0.0)
        if now - max(since, self._told) >= IDLE_EVERY:
            self._told = now
            log.info("idle", seconds=round(now - since), waiting_for=self._signs.waits())


def write_until(
    stopping: Event, signs: SignsOfLife, write: Callable[[dict[str, object]], None], ping: Callable[[], None]
) -> None:
    """Write the signs of life every second; meant for a thread of its own.

    Args:
        stopping: Ends it.
        signs: What to write.
        write: Writes them; it raises nothing.
        ping: Asks the network loops for a sign.
    """
    idleness = Idleness(signs)
    while True:
        ping()
        idleness.look()
        write(signs.now())
        if stopping.wait(WRITE_EVERY):
            return


class WatchedDeliveries(Generic[D]):
    """The deliveries of a queue, whose worker gives a sign of life with each call."""

    def __init__(self, deliveries: Deliveries[D], loop: Loop, store: str) -> None:
        self._deliveries = deliveries
        self._loop = loop
        self._store = store

    @property
    def queue(self) -> str:
        return self._deliveries.queue

    def take(self, limit: int, within: float | None = None) -> list[D] | None:
        self._loop.rest()
        taken = self._deliveries.take(limit, within)
        self._loop.take()
        return taken

    def ack(self, results: Sequence[tuple[D, Outcome]]) -> None:
        self._deliveries.ack(results)
        if all(isinstance(outcome, SetAside) for _, outcome in results):
            self._loop.rest()  # nothing is settled, and nothing is left to do before the next look at the locks
        else:
            self._loop.settle()

    def hold(self) -> None:
        self._loop.move()
        self._loop.waiting_for = self._store
        self._deliveries.hold()

    def release(self) -> None:
        self._loop.waiting_for = None
        self._deliveries.release()


class WatchedPublisher:
    """A publisher of events, whose relay gives a sign of life whenever it asks for results."""

    def __init__(self, publisher: EventPublisher, loop: Loop) -> None:
        self._publisher = publisher
        self._loop = loop
        self._in_flight = 0

    @property
    def connected(self) -> bool:
        return self._publisher.connected

    def publish(self, batch: Sequence[OutgoingEvent]) -> None:
        self._in_flight += len(batch)
        self._loop.take()
        self._publisher.publish(batch)

    def take_results(self) -> list[MessageResult]:
        results = self._publisher.take_results()
        self._loop.move()
        self._loop.waiting_for = None
        if results:
            self._in_flight -= len(results)
            self._loop.settle(more=self._in_flight > 0)
        return results


class WatchedWaker(Waker):
    """A waker, whose relay gives a sign of life whenever it waits: as a standby, or for the database."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def wait(self, timeout: float) -> None:
        self._loop.move()
        super().wait(timeout)


def watched_sessions(
    open_pending: Callable[[], AbstractContextManager[Pending]], loop: Loop
) -> Callable[[], AbstractContextManager[Pending]]:
    """Return what opens sessions with the outbox, and notes that the relay waits for the database."""

    @contextmanager
    def opened() -> Iterator[Pending]:
        loop.move()
        try:
            with open_pending() as pending:
                loop.waiting_for = None
                yield pending
        except StoreError:
            loop.waiting_for = "the database"
            raise

    return opened


def watched_sleep(sleep: Callable[[float], None], loop: Loop) -> Callable[[float], None]:
    """Return what sleeps, and notes that the loop goes round."""

    def slept(seconds: float) -> None:
        loop.move()
        sleep(seconds)

    return slept
