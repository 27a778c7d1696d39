"""A flood of bad messages does not stop the good ones, and does not grow memory."""

from collections.abc import Iterator
from contextlib import closing
from itertools import count
from operator import attrgetter
from pathlib import Path

import pytest
import structlog

from allocation_contracts import COMMANDS_EXCHANGE, Allocate, CreateBatch
from allocation_worker.adapters.rabbitmq.publisher import Publication
from allocation_worker.adapters.rabbitmq.until_confirmed import BlockingPublisher, publish_until_confirmed
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.processes import WorkerProcess, run_verb
from harness.service import RunningService
from tests.e2e.poison import ALL

log = structlog.get_logger()

MB = 1024
LARGEST = 20_000
"""Bytes; the two kinds of 200 KB would make the flood one of bytes."""
KINDS = [poison for poison in ALL if len(poison.body) < LARGEST]


def memory(process: WorkerProcess, field: str) -> int:
    """VmRSS or VmHWM, its peak, in kB."""
    [line] = [line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1])


class Flood:
    """Publishes bad messages of all kinds in turn, confirmed, a window at a time."""

    def __init__(self, amqp_url: str) -> None:
        self._numbers = count(1)
        self._publisher = BlockingPublisher[Publication]([amqp_url], lambda ready: ready, name="flood")

    def pour(self, amount: int) -> None:
        batch = [self._next() for _ in range(amount)]
        assert all(safe for _, safe in publish_until_confirmed(self._publisher, batch, key=attrgetter("id")))

    def close(self) -> None:
        self._publisher.close()

    def _next(self) -> Publication:
        number = next(self._numbers)
        poison = KINDS[number % len(KINDS)]
        return Publication(
            id=number,
            exchange=COMMANDS_EXCHANGE,
            routing_key=poison.routing_key,
            body=poison.body,
            properties=poison.properties,
        )


@pytest.fixture
def flooded(fresh_service: RunningService) -> Iterator[tuple[RunningService, ExternalClient, Flood]]:
    fresh_service.start("relay")
    with fresh_service.client() as client, closing(Flood(fresh_service.amqp_url)) as flood:
        yield fresh_service, client, flood


@pytest.mark.parametrize("amount", [2_000, pytest.param(50_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_the_good_ones_are_answered_in_the_same_memory(
    amount: int, flooded: tuple[RunningService, ExternalClient, Flood]
) -> None:
    service, client, flood = flooded
    consume = service.start("consume")
    client.ask(CreateBatch(batchref="b", sku="SKU", qty=10_000))
    flood.pour(500)  # so that all that is loaded on the first occasion is loaded
    wait_dead(service, 500)
    before = memory(consume, "VmRSS")
    for number in range(amount // 500):
        flood.pour(500)
        client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1))
        client.wait_confirmed()
    client.wait_answered(within=60)
    wait_dead(service, amount + 500, within=300)
    peak = memory(consume, "VmHWM")
    log.info("flooded", bad=amount, before_kb=before, after_kb=memory(consume, "VmRSS"), peak_kb=peak)
    assert peak - before < 30 * MB, f"{before} kB before, {peak} kB at the peak"
    assert service.judge(client).faults == []
    assert service.count_dead_letters() == amount + 500
    if amount > 2_000:
        look_through_all(service, amount + 500)


def look_through_all(service: RunningService, amount: int) -> None:
    """What an operator does then."""
    listed = run_verb("dead-letters", "list", settings=service.settings)
    assert listed.returncode == 0
    assert sum(int(line.split()[0].replace(",", "")) for line in listed.stdout.splitlines()[1:]) == amount
    back = service.start("dead-letters", "redrive", "--all")
    assert back.wait(300) == 1
    assert f"0 redriven, {amount:,} left." in back.log
    gone = run_verb(
        "dead-letters", "discard", "--reason", "invalid-json", "--yes", settings=service.settings, within=300
    )
    assert gone.returncode == 0
    discarded = int(gone.stdout.split()[0].replace(",", ""))
    left = service.count_dead_letters()
    assert (discarded + left, discarded > 0) == (amount, True)


def wait_dead(service: RunningService, amount: int, within: float = 60) -> None:
    wait_until(
        lambda: service.count_dead_letters() >= amount,
        within=within,
        every=0.2,
        otherwise=lambda: f"{service.count_dead_letters()} of {amount} are there.",
    )
