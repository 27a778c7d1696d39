"""What strikes consumers and relays."""

import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chaos.faults.table import Fault, fault
from chaos.place import CONSUMERS, RELAYS, Place
from chaos.traffic import Traffic


def signals(names: Sequence[str], *strike: signal.Signals, heal: signal.Signals | None = None) -> Fault:
    """Send one of these processes the signals, and at the end the one that heals."""

    @contextmanager
    def act(place: Place, _traffic: Traffic, luck: random.Random) -> Iterator[None]:
        process = place.processes.get(luck.choice(names))
        for number in strike:
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
def _all_consumers_killed(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    for name in CONSUMERS:
        place.processes.get(name).send(signal.SIGKILL)
    yield
