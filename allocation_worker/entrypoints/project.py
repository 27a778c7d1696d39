"""What `project` does besides taking events: it looks after a read model that may be lost while nothing happens."""

from threading import Event
from typing import Protocol

from allocation_worker.entrypoints.availability import until_available

TEND_EVERY = 10.0


class Tended(Protocol):
    """What can be looked after."""

    def tend(self) -> None:
        """Heal it where it needs that; raises StoreUnavailableError where that cannot be now."""


def tend_until(stopping: Event, tended: Tended) -> None:
    """Look after it every ten seconds until told to stop; meant for a thread of its own."""
    while not stopping.is_set() and tend_patiently(stopping, tended):
        stopping.wait(TEND_EVERY)


def tend_patiently(stopping: Event, tended: Tended) -> bool:
    """Look after it once, however long a store is away; False if told to stop before."""
    until_available(tended.tend, stopping=stopping, waiting_for="Redis and the database")
    return not stopping.is_set()
