"""The database fails over to its synchronous standby, and nothing is lost, doubled or oversold."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import monotonic

import pytest

from allocation_contracts import DEAD_LETTERS, Allocate, CreateBatch
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.pair import Pair
from harness.service import RunningService
from tests.planted.failovers import FAILOVERS

SKUS = [f"SKU-{number}" for number in range(20)]
RATE = 100.0
"""Commands a second."""
SILENCE = 20.0
"""Seconds from a promotion to the next answer. It takes a back-off, of 2 s at most; the rest is for a busy machine."""


@pytest.fixture
def service(servers: Servers, database_pair: Pair, tmp_path: Path) -> Iterator[RunningService]:
    with RunningService(replace(servers, database=database_pair), tmp_path) as running:
        yield running


@contextmanager
def orders(client: ExternalClient) -> Iterator[None]:
    """A steady stream of them, until the end of the block."""
    ended = threading.Event()

    def send() -> None:
        for number in count():
            if ended.wait(1 / RATE):
                return
            client.send(Allocate(orderid=f"o{number}", sku=SKUS[number % len(SKUS)], qty=1))

    thread = threading.Thread(target=send, name="orders")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def until_answers_go_on(client: ExternalClient, *, since: int) -> float:
    """Seconds until there are more outcomes than these."""
    began = monotonic()
    wait_until(
        lambda: len(client.outcomes) > since + RATE / 10,
        within=60,
        otherwise=lambda: f"There are {len(client.outcomes)} outcomes, and there were {since}.",
    )
    return monotonic() - began


@pytest.mark.parametrize("scenario", FAILOVERS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_lost_or_doubled_though(
    scenario: Callable[[RunningService], Sequence[str]], service: RunningService
) -> None:
    assert scenario(service) == []


def test_failovers_under_load(service: RunningService, database_pair: Pair) -> None:
    silences = []
    with service.client() as client:
        for verb in ("consume", "consume", "relay", "relay"):
            service.start(verb)
        for sku in SKUS:
            client.send(CreateBatch(batchref=f"{sku}/b", sku=sku, qty=100))
        client.wait_answered()
        with orders(client):
            for _ in range(3):
                until_answers_go_on(client, since=len(client.outcomes))
                database_pair.fail_over()
                database_pair.decide_alone()
                silences.append(until_answers_go_on(client, since=len(client.outcomes)))
                database_pair.rejoin()
        client.wait_answered()
        assert service.judge(client).faults == []
        print(f"{len(client.sent)} commands; seconds from a promotion to answers: {silences}")  # noqa: T201 - a figure
    assert max(silences) < SILENCE
    assert service.servers.broker.queue_depths(service.amqp_url)[DEAD_LETTERS] == 0
    assert [process.exit_code for process in service.processes] == [None] * 4
