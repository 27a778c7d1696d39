"""What `status` finds wrong."""

import pytest

from allocation_worker.service_layer.status import Backlog, Lines, Process, QueueKind, QueueState, Status, findings


def queue(kind: QueueKind, *, exists: bool = True, messages: int = 0, consumers: int = 1) -> QueueState:
    return QueueState(name=f"allocation.{kind}", kind=kind, exists=exists, messages=messages, consumers=consumers)


def status(
    *queues: QueueState,
    processes: tuple[str, ...] = ("consume", "relay"),
    oldest: float | None = None,
    broker: str | None = None,
    database: str | None = None,
    most_overdue: float | None = None,
) -> Status:
    return Status(
        broker=broker,
        database=database,
        queues=queues,
        processes=[Process(verb=verb, sessions=1, seconds=1) for verb in processes],
        backlog=Backlog(oldest=oldest, unrouted={}),
        lines=Lines(waiting=9, longest_wait=100_000.0, held=9, overdue=9, most_overdue=most_overdue),
        dead_letters={},
        policies=None,
    )


def test_a_service_that_works_has_nothing_wrong() -> None:
    well = status(
        queue("commands", messages=9), queue("retry", consumers=0), queue("dead-letters"), oldest=59, most_overdue=59
    )
    assert list(findings(well, stuck_after=60)) == []


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (status(queue("commands", consumers=0)), "no-consumer"),
        (status(queue("retry", exists=False)), "no-queue"),
        (status(queue("dead-letters", messages=1)), "dead-letters"),
        (status(queue("read-model", consumers=0)), "read-model-behind"),
        (status(processes=("consume",)), "no-relay"),
        (status(oldest=61), "event-stuck"),
        (status(most_overdue=61), "hold-overdue"),
        (status(broker="away"), "broker"),
        (status(database="away"), "database"),
    ],
)
def test_each_thing_that_is_wrong_is_found(seen: Status, kind: str) -> None:
    assert [each.kind for each in findings(seen, stuck_after=60)] == [kind]
