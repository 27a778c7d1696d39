"""What is told of queues, of the outbox, and of a process."""

from time import time
from typing import Any

import pytest

from allocation_worker.service_layer.status import Backlog, Lines, QueueState
from allocation_worker.service_layer.telemetry import (
    COUNTERS,
    GAUGES,
    HISTOGRAMS,
    readings_of_lines,
    readings_of_outbox,
    readings_of_process,
    readings_of_queues,
)


def told(readings: Any) -> dict[tuple[str, ...], float]:
    for each in readings:
        assert set(each.attributes) <= set(each.gauge.attributes)
    return {(each.gauge.name, *each.attributes.values()): each.value for each in readings}


def loop(**changes: object) -> dict[str, object]:
    usual = {"name": "worker", "needs_connection": False, "beat": None, "connected_since": None, "waiting_for": None}
    return usual | changes


def sign(*loops: dict[str, object], started: bool = True) -> dict[str, object]:
    return {"verb": "consume", "written": 100.0, "started": started, "waiting_for": "the database", "loops": loops}


def test_the_outbox_has_an_age_a_depth_and_the_events_that_nobody_wants() -> None:
    backlog = Backlog(oldest=None, unrouted={"allocated.v1": 3})
    assert told(list(readings_of_outbox(backlog, 0))) == {
        ("allocation.outbox.oldest_age",): 0,
        ("allocation.outbox.depth",): 0,
        ("allocation.outbox.unrouted", "allocated.v1"): 3,
    }


def test_lines_that_wait_or_are_held_are_counted_and_where_none_does_nothing_is_late() -> None:
    assert told(list(readings_of_lines(Lines(3, 90.5, 2, 1, 4.5)))) == {
        ("allocation.lines.waiting",): 3,
        ("allocation.lines.longest_wait",): 90.5,
        ("allocation.lines.held",): 2,
        ("allocation.lines.most_overdue",): 4.5,
    }
    assert set(told(list(readings_of_lines(Lines(0, None, 0, 0, None)))).values()) == {0}


def test_a_queue_that_nobody_is_to_consume_has_no_consumers_to_tell_of_and_one_that_is_missing_nothing() -> None:
    def queue(name: str, kind: Any, *, exists: bool = True) -> QueueState:
        return QueueState(name=name, kind=kind, exists=exists, messages=2, consumers=0)

    queues = [queue("orders", "commands"), queue("dead", "dead-letters"), queue("stock", "commands", exists=False)]
    assert told(list(readings_of_queues(queues))) == {
        ("allocation.queue.messages", "orders"): 2,
        ("allocation.queue.consumers", "orders"): 0,
        ("allocation.queue.messages", "dead"): 2,
    }


def test_a_process_was_seen_when_the_loop_that_hangs_has_moved_last() -> None:
    found = told(list(readings_of_process(sign(loop(), loop(beat=99.0), loop(beat=40.0)))))
    assert found == {("allocation.process.last_seen", "consume"): pytest.approx(time() - 60, abs=5)}


@pytest.mark.parametrize(("since", "connected"), [(5.0, 1), (None, 0)])
def test_a_process_is_connected_if_all_loops_are_that_need_it(since: float | None, connected: int) -> None:
    network = [loop(needs_connection=True, connected_since=each) for each in (5.0, since)]
    assert told(list(readings_of_process(sign(*network))))["allocation.process.connected", "consume"] == connected


def test_loops_that_wait_are_counted_by_what_they_wait_for_and_so_is_a_start() -> None:
    waiting = [loop(waiting_for="the database"), loop(waiting_for="Redis")]
    found = told(list(readings_of_process(sign(*waiting, started=False))))
    assert found["allocation.process.waiting", "consume", "the database"] == 2
    assert found["allocation.process.waiting", "consume", "Redis"] == 1


def test_each_metric_has_a_name_of_its_own_in_both_worlds() -> None:
    metrics = (*COUNTERS, *HISTOGRAMS, *GAUGES)
    assert (
        len({metric.name for metric in metrics}) == len({metric.prometheus_name for metric in metrics}) == len(metrics)
    )
    assert all(metric.bounds for metric in HISTOGRAMS)
