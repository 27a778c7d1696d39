"""Tend the read model every few seconds: its store may lose it while no event arrives."""

from threading import Event

from allocation_worker.entrypoints.availability import until_available
from allocation_worker.service_layer.project import Projector

TEND_EVERY = 10.0
"""Seconds."""


def tend_until(stopping: Event, projector: Projector) -> None:
    """Tend the read model until `stopping` is set; meant for a thread of its own."""
    while not stopping.is_set() and tend_patiently(stopping, projector):
        stopping.wait(TEND_EVERY)


def tend_patiently(stopping: Event, projector: Projector) -> bool:
    """Tend the read model once, and wait while a store is away. Return False if `stopping` was set before."""
    until_available(projector.tend, stopping=stopping, waiting_for="Redis and the database")
    return not stopping.is_set()
