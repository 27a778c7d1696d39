"""Measures the worker beside itself at an earlier commit."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from allocation_worker.testing.servers import Servers
from bench.progress import ProgressBar
from bench.sides import EarlierSide, WorkerSide
from harness.earlier_version import NoSuchCommitError, unpack_version

T = TypeVar("T")


def in_pairs(
    servers: Servers,
    shown: ProgressBar,
    commit: str,
    measure: Callable[[WorkerSide], T],
    *,
    repeats: int,
    relay_logs: tuple[str, str] = ("ready", "amqp_connected"),
) -> list[tuple[T, T]]:
    """Measure both, by turns.

    Args:
        servers: The servers.
        shown: Is told of each figure.
        commit: The earlier version.
        measure: Measures one side.
        repeats: How many pairs.
        relay_logs: What the earlier relay logs once it is the active one and connected.

    Returns:
        A pair for each repeat, the earlier version first; none where the repository does not have the commit.
    """
    pairs = []
    with TemporaryDirectory() as folder:
        try:
            version = unpack_version(commit, Path(folder))
        except NoSuchCommitError as error:
            shown.say(f"commit {commit}: left out: {error}")
            return []
        for number in range(repeats):
            found: dict[bool, T] = {}
            for is_earlier in (True, False) if number % 2 == 0 else (False, True):
                side = EarlierSide(servers, commit, version, relay_logs) if is_earlier else WorkerSide(servers)
                found[is_earlier] = measure(side)
                shown.say(f"{side.name}: {found[is_earlier]}")
                servers.database.drop(side.database_url)
            pairs.append((found[True], found[False]))
    return pairs
