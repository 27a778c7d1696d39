"""SIGKILL between every two steps, and each time it is as if nothing had happened."""

import signal

import pytest

from allocation_contracts import Allocate, ChangeBatchQuantity, CreateBatch, Deallocate
from allocation_worker.testing.crash_points import CONSUME_POINTS, RELAY_POINTS
from allocation_worker.testing.outside import Outside
from allocation_worker.testing.running import RunningService
from allocation_worker.testing.waiting import wait_until

# So that each point is passed several times.
ONE_AT_A_TIME = {"ALLOCATION_RELAY_WINDOW": "1", "ALLOCATION_GROUP_LIMIT": "10"}


def a_little_of_everything(outside: Outside) -> None:
    for batch, qty in (("b1", 40), ("b2", 30)):
        outside.send(CreateBatch(batchref=batch, sku="SKU", qty=qty))
    for number in range(30):
        line = Allocate(orderid=f"o{number}", sku="SKU", qty=2)
        message_id = outside.send(line)
        if number % 7 == 0:
            outside.send(line, message_id=message_id)
        if number % 10 == 9:
            outside.send(Deallocate(orderid=f"o{number}", sku="SKU"))
    outside.send(ChangeBatchQuantity(batchref="b1", qty=10))
    outside.wait_confirmed()


@pytest.mark.parametrize("point", [*CONSUME_POINTS, *RELAY_POINTS])
def test_a_process_killed_again_and_again_at(point: str, fresh_service: RunningService) -> None:
    doomed, other = ("consume", "relay") if point in CONSUME_POINTS else ("relay", "consume")
    with fresh_service.outside() as outside:
        fresh_service.start(other)
        a_little_of_everything(outside)
        for nth in (1, 2, 1):
            victim = fresh_service.start(doomed, crash=(point, nth), settings=ONE_AT_A_TIME)
            wait_until(lambda: victim.exit_code is not None, within=30, otherwise=lambda: victim.log)  # noqa: B023 - asked at once
            assert victim.exit_code == -signal.SIGKILL
        fresh_service.start(doomed)
        outside.wait_answered()
        report = fresh_service.judge(outside)
        assert report.faults == []
        assert report.batches["b1"].purchased == 10
