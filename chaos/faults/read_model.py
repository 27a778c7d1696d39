"""What strikes the read model: its projectors, and its Redis."""

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.faults.processes import signals
from chaos.faults.table import fault
from chaos.place import PROJECTORS, Place
from chaos.traffic import Traffic
from harness.processes import run_verb

_REBUILT_WITHIN = 300.0

fault("read model", "project: SIGKILL")(signals(PROJECTORS, signal.SIGKILL))
fault("read model", "project: SIGSTOP", 2, 20)(signals(PROJECTORS, signal.SIGSTOP, heal=signal.SIGCONT))
fault("read model", "project: SIGTERM")(signals(PROJECTORS, signal.SIGTERM))


@fault("read model", "redis: killed, and empty when it is back", 0, 10)
@contextmanager
def _redis_killed(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    place.redis.kill()
    try:
        yield
    finally:
        place.redis.start()


@fault("read model", "read model: built anew")
@contextmanager
def _built_anew(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    """As an operator would; it may say that it cannot, since the database is struck meanwhile."""
    run_verb("project", "--rebuild", settings=place.settings, within=_REBUILT_WITHIN)
    yield
