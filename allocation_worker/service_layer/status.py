"""The result of `status`, and what is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from allocation_worker.service_layer.wording import counted

QueueKind = Literal["commands", "retry", "dead-letters", "read-model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong: its kind, and a sentence."""

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """A queue: whether it exists, the messages that wait in it, and its consumers."""

    name: str
    kind: QueueKind
    exists: bool
    messages: int
    consumers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The sessions of one verb with the database, and the age of the oldest, in seconds."""

    verb: str
    sessions: int
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The age of the oldest event that waits to be published, in seconds, and the events that no queue wants."""

    oldest: float | None
    unrouted: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Lines:
    """The order lines that wait for stock, and those for which it is held.

    Attributes:
        waiting: The number of those that wait.
        longest_wait: For how many seconds the first of them has waited; None if none waits, or if that is not known.
        held: The number of those for which stock is held.
        overdue: The part of them whose time has passed.
        most_overdue: How many seconds ago the first of their times has passed; None if none has.
    """

    waiting: int
    longest_wait: float | None
    held: int
    overdue: int
    most_overdue: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `status` has seen. What could not be asked is None, with the reason in `broker` or `database`.

    Attributes:
        broker: Why the broker could not be asked; None if it was.
        database: Why the database could not be asked, or its schema does not fit; None if it was.
        queues: The queues.
        processes: The processes that are connected to the database.
        backlog: The events that wait.
        lines: The order lines that wait or are held.
        dead_letters: Their number by reason; None if they were not read.
        policies: What policies of the broker do to the queues; None if they could not be seen.
    """

    broker: str | None
    database: str | None
    queues: Sequence[QueueState]
    processes: Sequence[Process]
    backlog: Backlog | None
    lines: Lines | None
    dead_letters: Mapping[str, int] | None
    policies: Sequence[Finding] | None


def findings(status: Status, *, stuck_after: float) -> Iterator[Finding]:
    """Yield what is wrong.

    Args:
        status: What was seen.
        stuck_after: Seconds after which an event that is not published counts as stuck, and a hold whose time has
            passed as overdue.
    """
    if status.broker is not None:
        yield Finding(kind="broker", sentence=status.broker)
    if status.database is not None:
        yield Finding(kind="database", sentence=status.database)
    for queue in status.queues:
        yield from _of_queue(queue)
    yield from status.policies or ()
    if status.backlog is None:
        return
    if not any(process.verb == "relay" for process in status.processes):
        yield Finding(kind="no-relay", sentence="No `allocation-worker relay` is connected to the database.")
    if status.backlog.oldest is not None and status.backlog.oldest > stuck_after:
        waited = f"The oldest event has waited to be published for {status.backlog.oldest:.0f} s."
        yield Finding(kind="event-stuck", sentence=waited)
    if status.lines and status.lines.most_overdue is not None and status.lines.most_overdue > stuck_after:
        told = f"A hold should have lapsed {status.lines.most_overdue:.0f} s ago; look at the log of `relay`."
        yield Finding(kind="hold-overdue", sentence=told)


def _of_queue(queue: QueueState) -> Iterator[Finding]:
    if not queue.exists:
        told = f"The queue {queue.name} does not exist; run `allocation-worker topology`."
        yield Finding(kind="no-queue", sentence=told)
    elif queue.kind == "commands" and not queue.consumers:
        waiting = counted(queue.messages, "message waits", "messages wait")
        told = f"Nobody consumes {queue.name}, in which {waiting}; start `consume`."
        yield Finding(kind="no-consumer", sentence=told)
    elif queue.kind == "read-model" and not queue.consumers:
        behind = counted(queue.messages, "event")
        told = f"The read model is {behind} behind, and nobody updates it; start `project`."
        yield Finding(kind="read-model-behind", sentence=told)
    elif queue.kind == "dead-letters" and queue.messages:
        waiting = counted(queue.messages, "dead letter waits", "dead letters wait")
        told = f"{waiting} to be handled; `allocation-worker dead-letters list` shows why."
        yield Finding(kind="dead-letters", sentence=told)
