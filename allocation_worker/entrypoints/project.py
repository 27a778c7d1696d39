"""What `project` does besides taking events: it looks after a read model that may be lost while nothing happens."""

from threading import Event
from typing import Protocol

import structlog

from allocation_worker.entrypoints.backoff import Backoff
from allocation_worker.service_layer.ports import StoreContentionError, StoreUnavailableError

TEND_EVERY = 10.0

log = structlog.get_logger()


class Tended(Protocol):
    """What can be looked after."""

    def tend(self) -> None:
        """Heal it where it needs that; raises StoreUnavailableError where that cannot be now."""


def tend_until(stopping: Event, tended: Tended) -> None:
    """Look after it every ten seconds until told to stop; meant for a thread of its own."""
    while tend_patiently(stopping, tended):
        stopping.wait(TEND_EVERY)


def tend_patiently(stopping: Event, tended: Tended) -> bool:
    """Look after it once, however long a store is away; False if told to stop before."""
    backoff = Backoff()
    while not stopping.is_set():
        try:
            tended.tend()
        except (StoreUnavailableError, StoreContentionError) as error:
            pause = backoff.next()
            log.warning("waiting for Redis and the database", seconds=round(pause, 1), error=str(error))
            stopping.wait(pause)
        else:
            return True
    return False
