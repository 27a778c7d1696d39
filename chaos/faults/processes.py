"""The faults of consumers and relays."""

import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chaos.faults.table import InjectFault, fault
from chaos.sandbox import CONSUMERS, RELAYS, Sandbox
from chaos.traffic import CommandStream


def signals(names: Sequence[str], *numbers: signal.Signals, heal: signal.Signals | None = None) -> InjectFault:
    """Send one of these processes the signals, and at the end the healing signal."""

    @contextmanager
    def act(sandbox: Sandbox, _stream: CommandStream, rng: random.Random) -> Iterator[None]:
        process = sandbox.processes.get(rng.choice(names))
        for number in numbers:
            process.send(number)
        try:
            yield
        finally:
            if heal:
                process.send(heal)

    return act


fault("consume", "consume: SIGKILL")(signals(CONSUMERS, signal.SIGKILL))
fault("consume", "consume: SIGSTOP", 2, 20)(signals(CONSUMERS, signal.SIGSTOP, heal=signal.SIGCONT))
fault("consume", "consume: SIGTERM")(signals(CONSUMERS, signal.SIGTERM))
fault("relay", "relay: SIGKILL")(signals(RELAYS, signal.SIGKILL))
fault("relay", "relay: SIGSTOP", 2, 20)(signals(RELAYS, signal.SIGSTOP, heal=signal.SIGCONT))
fault("relay", "relay: SIGTERM")(signals(RELAYS, signal.SIGTERM))


@fault("consume", "consume: all killed")
@contextmanager
def _all_consumers_killed(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    for name in CONSUMERS:
        sandbox.processes.get(name).send(signal.SIGKILL)
    yield
