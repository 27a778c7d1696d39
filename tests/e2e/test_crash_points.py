"""SIGKILL between every two steps, and every command still has exactly one effect."""

import signal

import pytest

from allocation_worker.testing.waiting import wait_until
from harness.crash_points import CONSUME_POINTS, RELAY_POINTS
from harness.service import RunningService
from tests.e2e.mixed_commands import ONE_AT_A_TIME, send_mixed_commands


@pytest.mark.parametrize("point", [*CONSUME_POINTS, *RELAY_POINTS])
def test_a_process_killed_again_and_again_at(point: str, fresh_service: RunningService) -> None:
    doomed, other = ("consume", "relay") if point in CONSUME_POINTS else ("relay", "consume")
    with fresh_service.client() as client:
        # Several transactions, so several pages and marks.
        fresh_service.start(other, settings={"ALLOCATION_GROUP_LIMIT": "5"})
        send_mixed_commands(client)
        for nth in (1, 2, 1):
            victim = fresh_service.start(doomed, crash=(point, nth), settings=ONE_AT_A_TIME)
            wait_until(lambda: victim.exit_code is not None, within=30, otherwise=lambda: victim.log)  # noqa: B023 - asked at once
            assert victim.exit_code == -signal.SIGKILL
        fresh_service.start(doomed)
        client.wait_answered()
        report = fresh_service.judge(client)
        assert report.faults == []
        assert report.batches["b1"].purchased == 10
