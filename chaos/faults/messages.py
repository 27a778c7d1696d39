"""What goes wrong with the messages themselves."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.faults.table import fault
from chaos.place import Place
from chaos.traffic import Traffic


@fault("messages", "messages published twice", 2, 8)
@contextmanager
def _published_twice(_place: Place, traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    traffic.twice = True
    try:
        yield
    finally:
        traffic.twice = False


@fault("messages", "old messages published again")
@contextmanager
def _published_again(_place: Place, traffic: Traffic, luck: random.Random) -> Iterator[None]:
    traffic.publish_again(luck, 200)
    yield


@fault("messages", "messages that nobody can read")
@contextmanager
def _poison(_place: Place, traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    traffic.poison()
    yield
