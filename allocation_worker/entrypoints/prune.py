"""Deleting what is old enough from the outbox and the inbox, now and then and a little at a time."""

from collections.abc import Callable
from time import monotonic

import structlog

from allocation_worker.service_layer.ports import StoreContentionError, StoreUnavailableError

PRUNE_EVERY = 60.0
"""Seconds."""

log = structlog.get_logger()


class Pruner:
    """Prunes every minute, until nothing is left that is old enough.

    Args:
        prune_some: Deletes some rows of the outbox and of the inbox; returns True if there may be more.
        clock: Seconds that never go back.
    """

    def __init__(self, prune_some: Callable[[], bool], *, clock: Callable[[], float] = monotonic) -> None:
        self._prune_some = prune_some
        self._clock = clock
        self._due = clock() + PRUNE_EVERY

    def prune_if_due(self) -> None:
        """Delete some rows, if it is time. A database that is away is logged, and tried again a minute later."""
        if self._clock() < self._due:
            return
        try:
            more = self._prune_some()
        except (StoreUnavailableError, StoreContentionError) as error:
            # It has a connection of its own; if the relay's is gone, too, that will show.
            log.warning("prune_failed", error=str(error))
            more = False
        if not more:
            self._due = self._clock() + PRUNE_EVERY
