"""SIGKILL between every two steps, and every command still has exactly one effect."""

import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from allocation_contracts import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    Hold,
    HoldLapsed,
)
from allocation_worker.domain.model import AT_A_TIME
from allocation_worker.testing.waiting import wait_until
from harness.checker.tables import count_holds
from harness.client import ExternalClient
from harness.crash_points import CONSUME_POINTS, LAPSE_POINTS, RELAY_POINTS
from harness.processes import WorkerProcess
from harness.service import RunningService
from tests.e2e.mixed_commands import LATER, ONE_AT_A_TIME, SOON, send_mixed_commands

HOUR = timedelta(hours=1)
LINES = 2 * AT_A_TIME + 100
"""Lines that are told in three portions, and served in four."""


@pytest.mark.parametrize("point", [*CONSUME_POINTS, *RELAY_POINTS])
def test_a_process_killed_again_and_again_at(point: str, fresh_service: RunningService) -> None:
    doomed, other = ("consume", "relay") if point in CONSUME_POINTS else ("relay", "consume")
    with fresh_service.client() as client:
        # Several transactions, so several pages and marks.
        fresh_service.start(other, settings={"ALLOCATION_GROUP_LIMIT": "5"})
        send_mixed_commands(client)
        for nth in (1, 2, 1):
            killed(fresh_service.start(doomed, crash=(point, nth), settings=ONE_AT_A_TIME))
        fresh_service.start(doomed)
        client.wait_answered()
        report = fresh_service.judge(client)
        assert report.faults == []
        assert report.batches["b1"].purchased == 10


@pytest.mark.parametrize(
    ("command", "point"),
    [
        (ChangeBatchEta(batchref="ship", eta=LATER), "portion-to-tell-read"),
        (ChangeBatchEta(batchref="ship", eta=None), "portion-to-tell-read"),
        (ChangeBatchQuantity(batchref="ship", qty=3 * LINES), "portion-to-serve-read"),
        (CreateBatch(batchref="shelf", sku="SKU", qty=LINES + 1), "portion-to-serve-read"),
    ],
    ids=["later", "arrived", "grown", "created"],
)
def test_a_consumer_killed_between_the_portions_of(command: Command, point: str, fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        fresh_service.start("relay")
        first = fresh_service.start("consume")
        client.ask(CreateBatch(batchref="ship", sku="SKU", qty=LINES, eta=SOON))
        for number in range(LINES):
            client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1, needed_by=SOON if number % 100 == 0 else None))
        client.wait_answered()
        for number in range(LINES):
            client.send(Allocate(orderid=f"w{number}", sku="SKU", qty=1, wait=True, priority=number % 3))
        client.wait_answered()
        first.terminate()
        client.send(command)
        for nth in (2, 3):
            killed(fresh_service.start("consume", crash=(point, nth)))
        fresh_service.start("consume")
        client.wait_answered()
        assert fresh_service.judge(client).faults == []


@pytest.mark.parametrize("point", LAPSE_POINTS)
def test_a_relay_killed_while_it_ends_holds_at(point: str, fresh_service: RunningService) -> None:
    orderids = [f"o{number}" for number in range(30)]
    with fresh_service.client() as client:
        fresh_service.start("consume")
        client.send(CreateBatch(batchref="b", sku="SKU", qty=30))
        for wave in (orderids[:10], orderids[10:20], orderids[20:]):
            already = count_holds(fresh_service.database_url, HOUR)
            hold_for_a_second(client, wave)
            wait_until(
                lambda: count_holds(fresh_service.database_url, HOUR) == already + 10,  # noqa: B023 - asked at once
                within=30,
                otherwise=lambda: "The holds were not taken.",
            )
            killed(fresh_service.start("relay", crash=(point, 1)))
        for orderid in orderids:
            client.send(Allocate(orderid=f"waits-{orderid}", sku="SKU", qty=1, wait=True))
        relay = fresh_service.start("relay")
        wait_until(lambda: set(lapsed(client)) == set(orderids), within=30, otherwise=lambda: relay.log)
        client.wait_answered()
        assert fresh_service.judge(client).faults == []
        assert len(lapsed(client)) == len(orderids)


def hold_for_a_second(client: ExternalClient, orderids: Sequence[str]) -> None:
    until = datetime.now(UTC) + timedelta(seconds=1)
    for orderid in orderids:
        client.send(Hold(orderid=orderid, sku="SKU", qty=1, until=until))
    client.wait_confirmed()


def lapsed(client: ExternalClient) -> list[str]:
    """Return the orders whose hold has lapsed. A relay that was killed may have published some of the events twice."""
    told = {event.message_id: event.data["orderid"] for event in client.received if event.type == HoldLapsed.TYPE}
    return list(told.values())


def killed(victim: WorkerProcess) -> None:
    """Wait until the process has killed itself."""
    wait_until(lambda: victim.exit_code is not None, within=30, otherwise=lambda: victim.log)
    assert victim.exit_code == -signal.SIGKILL
