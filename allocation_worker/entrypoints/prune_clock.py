"""The clock that pruning goes by, which a wrong clock of the database cannot hurry."""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

import structlog

from allocation_worker.service_layer.ports import PruneTimes

FASTEST = 2.0
"""How many seconds this clock may go in one second."""

KEPT_EVERY = 60.0
"""Seconds between two times that are kept. After a crash the clock is behind by as much, which is no harm."""

FAR_AHEAD = timedelta(hours=1)
"""The database's clock is this far ahead after a long stop, or when it is wrong. The log says so."""

_BEHIND = "After a stop this is as it should be. Otherwise the clock of the database has jumped."

log = structlog.get_logger()


class PruneClock:
    """Follows the clock of the database, but goes at most twice as fast as time passes.

    So a row stays for at least half of its days, whatever the clock of the database said when it was written or says
    now. After a stop this clock is behind, and catches up in as long as the stop took. Its time is kept in the
    database, so that a restart does not hurry it either.

    Args:
        times: The clock of the database, and the time kept there.
        clock: Seconds that never go back.
    """

    def __init__(self, times: PruneTimes, *, clock: Callable[[], float] = monotonic) -> None:
        self._times = times
        self._clock = clock
        self._told = False

    def start(self) -> None:
        """Begin at the time that was kept. Time that has passed without this clock does not count."""
        self._kept = self._time = self._times.reached()
        self._at = self._clock()
        self._keep_at = self._at + KEPT_EVERY

    def now(self) -> datetime:
        """Return the time, which may have gone back with the clock of the database."""
        server, at = self._times.server_time(), self._clock()
        self._time = min(server, self._time + timedelta(seconds=FASTEST * (at - self._at)))
        self._at = at
        self._tell(server)
        if at >= self._keep_at:
            self._keep(at)
        return min(server, self._time)

    def _keep(self, at: float) -> None:
        if self._times.reach(self._kept, self._time):
            self._kept = self._time
            self._keep_at = at + KEPT_EVERY
        else:  # another relay has moved it; the two must not add up
            self.start()

    def _tell(self, server: datetime) -> None:
        ahead = server - self._time > FAR_AHEAD
        if ahead and not self._told:
            log.warning("prune_clock_behind", database=str(server), reached=str(self._time), detail=_BEHIND)
        self._told = ahead
