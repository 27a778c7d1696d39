"""The faults of the read model: its projectors and its Redis."""

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.faults.processes import signals
from chaos.faults.table import fault
from chaos.sandbox import PROJECTORS, Sandbox
from chaos.traffic import CommandStream
from harness.processes import run_verb

_REBUILT_WITHIN = 300.0

fault("read model", "project: SIGKILL")(signals(PROJECTORS, signal.SIGKILL))
fault("read model", "project: SIGSTOP", 2, 20)(signals(PROJECTORS, signal.SIGSTOP, heal=signal.SIGCONT))
fault("read model", "project: SIGTERM")(signals(PROJECTORS, signal.SIGTERM))


@fault("read model", "redis: killed, and empty when it is back", 0, 10)
@contextmanager
def _redis_killed(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    sandbox.redis.kill()
    try:
        yield
    finally:
        sandbox.redis.start()


@fault("read model", "read model: built anew")
@contextmanager
def _built_anew(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    """Rebuild the read model, as an operator would. This may fail if the database has a fault meanwhile."""
    run_verb("project", "--rebuild", settings=sandbox.settings, within=_REBUILT_WITHIN)
    yield
