"""The faults of messages: repeats and poison."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.faults.table import fault
from chaos.sandbox import Sandbox
from chaos.traffic import CommandStream


@fault("messages", "messages published twice", 2, 8)
@contextmanager
def _published_twice(_sandbox: Sandbox, stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    stream.twice = True
    try:
        yield
    finally:
        stream.twice = False


@fault("messages", "old messages published again")
@contextmanager
def _published_again(_sandbox: Sandbox, stream: CommandStream, rng: random.Random) -> Iterator[None]:
    stream.publish_again(rng, 200)
    yield


@fault("messages", "messages that nobody can read")
@contextmanager
def _poison(_sandbox: Sandbox, stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    stream.poison()
    yield
