"""The faults of the pair of database servers. After each, both are in step again."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from chaos.faults.table import fault
from chaos.sandbox import Sandbox
from chaos.traffic import CommandStream
from harness.pair import Pair

_CONSUMERS = "%consume"


@fault("database", "database: primary killed, standby promoted", 0, 10)
@contextmanager
def _primary_killed(sandbox: Sandbox, _stream: CommandStream, rng: random.Random) -> Iterator[None]:
    pair = sandbox.database
    pair.primary.kill()
    try:
        yield
    finally:
        pair.promote()
        if rng.random() < 1 / 2:
            pair.decide_alone()
        pair.rejoin()


@fault("database", "database: switchover, the former primary stays open", 2, 15)
@contextmanager
def _switched_over(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    pair = sandbox.database
    pair.switch_over()
    pair.decide_alone()
    try:
        yield
    finally:
        pair.rejoin()


@fault("database", "database: standby away", 2, 20)
@contextmanager
def _standby_away(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    with sandbox.database.standby_away():
        yield


@fault("database", "database: standby away, a commit cancelled, primary killed", 1, 8)
@contextmanager
def _commit_cancelled(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    with _standby_away_until_failover(sandbox.database) as pair:
        with suppress(TimeoutError):  # no commit waits, as long as no command arrives
            pair.cancel_commit(_CONSUMERS)
        yield


@fault("database", "database: standby away, a backend killed, primary killed", 1, 8)
@contextmanager
def _backend_killed(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    with _standby_away_until_failover(sandbox.database) as pair:
        with suppress(TimeoutError):  # as above
            pair.wait_for_commit(_CONSUMERS)
            pair.kill_backend(_CONSUMERS)
        yield


@fault("database", "database: primary frozen, standby promoted", 1, 15)
@contextmanager
def _primary_frozen(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    """The frozen server is killed before it can go on."""
    pair = sandbox.database
    frozen = pair.primary
    frozen.freeze()
    try:
        pair.promote()
        yield
    finally:
        frozen.kill()
        pair.rejoin()


@contextmanager
def _standby_away_until_failover(pair: Pair) -> Iterator[Pair]:
    """Stop the standby. At the end, kill the primary, promote the standby, and let the other one follow."""
    with pair.standby_away():
        try:
            yield pair
        finally:
            pair.fail_over()
    pair.rejoin()
