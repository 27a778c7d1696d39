"""What the service measures: the one list of its metrics.

Names follow the semantic conventions of OpenTelemetry for messaging and for connection pools; our own begin with
`allocation.`. A Prometheus name follows from them, the same in the text file and through a collector.
"""

from collections.abc import Iterable, Iterator, Mapping
from time import time
from typing import Any, NamedTuple

from allocation_worker.service_layer.outcomes import DeadLettered, Done, Outcome, Retry, SetAside
from allocation_worker.service_layer.status import Backlog, Lines, QueueState

SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
ERROR = "error.type"
POOL = "db.client.connection.pool.name"
MESSAGE_ID = "messaging.message.id"
CONVERSATION = "messaging.message.conversation_id"
VERB = "allocation.verb"
OUTCOME = "allocation.outcome"
REASON = "allocation.reason"
TYPE = "allocation.message.type"
WAITING_FOR = "allocation.waiting_for"

RABBITMQ = "rabbitmq"

Attributes = Mapping[str, str]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The bounds that the conventions advise for durations."""
MESSAGES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)


_NONE: Attributes = {}


class Metric(NamedTuple):
    """A metric.

    Attributes:
        name: With dots.
        unit: `s`, or what is counted, such as `{message}`.
        description: A sentence.
        attributes: The names of all attributes that a value may have.
        bounds: Those of the buckets, if it is a histogram.
    """

    name: str
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """Its name in Prometheus, as collectors make it; counters and histograms get an ending."""
        name = self.name.replace(".", "_")
        return f"{name}_seconds" if self.unit == "s" else name


RECEIVED = Metric(
    "messaging.client.consumed.messages",
    "{message}",
    "Messages that were delivered.",
    (SYSTEM, OPERATION, DESTINATION),
)
SETTLED = Metric(
    "allocation.messages.settled",
    "{message}",
    "Messages by what became of them: answered, rejected, retried, dead-lettered, or projected.",
    (DESTINATION, OUTCOME, REASON),
)
SET_ASIDE = Metric(
    "allocation.messages.set_aside",
    "{message}",
    "How often a message waited for a product that another transaction has locked.",
    (DESTINATION,),
)
GROUP_DURATION = Metric(
    "messaging.process.duration",
    "s",
    "Time from the taking of a group of messages to its acknowledgement.",
    (SYSTEM, OPERATION, DESTINATION),
    SECONDS,
)
GROUP_SIZE = Metric("allocation.group.size", "{message}", "Messages taken as one group.", (DESTINATION,), MESSAGES)
SENT = Metric(
    "messaging.client.sent.messages",
    "{message}",
    "Events that were published; those that were not confirmed have an error.type.",
    (SYSTEM, OPERATION, DESTINATION, ERROR),
)
PUBLISH_DURATION = Metric(
    "messaging.client.operation.duration",
    "s",
    "Time from the publishing of some events to the last of their confirms.",
    (SYSTEM, OPERATION, DESTINATION),
    SECONDS,
)
POOL_WAIT = Metric(
    "db.client.connection.wait_time",
    "s",
    "Time to get a connection to the database, its opening included.",
    (POOL,),
    SECONDS,
)

OUTBOX_AGE = Metric("allocation.outbox.oldest_age", "s", "Age of the oldest event that waits to be published.")
OUTBOX_DEPTH = Metric("allocation.outbox.depth", "{event}", "Events that wait to be published.")
UNROUTED = Metric("allocation.outbox.unrouted", "{event}", "Events that no queue is bound for.", (TYPE,))
LINES_WAITING = Metric("allocation.lines.waiting", "{line}", "Order lines that wait for stock.")
LONGEST_WAIT = Metric("allocation.lines.longest_wait", "s", "The longest that a line has waited that still waits.")
LINES_HELD = Metric("allocation.lines.held", "{line}", "Order lines for which stock is held until a time.")
MOST_OVERDUE = Metric(
    "allocation.lines.most_overdue", "s", "How long ago the hold that is most overdue should have lapsed."
)
QUEUE_MESSAGES = Metric("allocation.queue.messages", "{message}", "Messages that wait in a queue.", (DESTINATION,))
QUEUE_CONSUMERS = Metric("allocation.queue.consumers", "{consumer}", "Consumers of a queue.", (DESTINATION,))
LAST_SEEN = Metric(
    "allocation.process.last_seen", "s", "When all loops of a process moved last, in seconds since 1970.", (VERB,)
)
CONNECTED = Metric(
    "allocation.process.connected",
    "{connection}",
    "Whether a process is connected to the broker (1) or not (0).",
    (VERB,),
)
WAITING = Metric(
    "allocation.process.waiting", "{loop}", "Loops of a process that wait for a server.", (VERB, WAITING_FOR)
)

COUNTERS = (RECEIVED, SETTLED, SET_ASIDE, SENT)
HISTOGRAMS = (GROUP_DURATION, GROUP_SIZE, PUBLISH_DURATION, POOL_WAIT)
GAUGES = (
    OUTBOX_AGE,
    OUTBOX_DEPTH,
    UNROUTED,
    LINES_WAITING,
    LONGEST_WAIT,
    LINES_HELD,
    MOST_OVERDUE,
    QUEUE_MESSAGES,
    QUEUE_CONSUMERS,
    LAST_SEEN,
    CONNECTED,
    WAITING,
)


class TraceContext(NamedTuple):
    """The place of something in a trace, as W3C writes it in headers."""

    traceparent: str
    tracestate: str | None = None


class Reading(NamedTuple):
    """The value of a gauge."""

    gauge: Metric
    value: float
    attributes: Attributes = _NONE


def outcome_attributes(outcome: Outcome, done: str) -> Attributes | None:
    """Return how a settled message is counted; None for one that is set aside.

    Args:
        outcome: What becomes of it.
        done: What a message is called that is done and not rejected.
    """
    match outcome:
        case Done(rejected=None):
            return {OUTCOME: done}
        case Done(rejected=reason):
            return {OUTCOME: "rejected", REASON: reason or ""}
        case Retry():
            return {OUTCOME: "retried"}
        case DeadLettered(reason=reason):
            return {OUTCOME: "dead-lettered", REASON: reason}
        case SetAside():
            return None


def readings_of_outbox(backlog: Backlog, depth: int) -> Iterator[Reading]:
    """Yield what is told of the outbox."""
    yield Reading(OUTBOX_AGE, backlog.oldest or 0.0)
    yield Reading(OUTBOX_DEPTH, depth)
    for type_, count in backlog.unrouted.items():
        yield Reading(UNROUTED, count, {TYPE: type_})


def readings_of_lines(lines: Lines) -> Iterator[Reading]:
    """Yield what is told of the lines that wait or are held."""
    yield Reading(LINES_WAITING, lines.waiting)
    yield Reading(LONGEST_WAIT, lines.longest_wait or 0.0)
    yield Reading(LINES_HELD, lines.held)
    yield Reading(MOST_OVERDUE, lines.most_overdue or 0.0)


def readings_of_queues(queues: Iterable[QueueState]) -> Iterator[Reading]:
    """Yield what is told of the queues that exist."""
    for queue in queues:
        if queue.exists:
            yield Reading(QUEUE_MESSAGES, queue.messages, {DESTINATION: queue.name})
            if queue.kind in {"commands", "read-model"}:  # nobody consumes the others for long
                yield Reading(QUEUE_CONSUMERS, queue.consumers, {DESTINATION: queue.name})


def readings_of_process(sign: Mapping[str, Any]) -> Iterator[Reading]:
    """Yield what the sign of life of a process tells; see `service_layer.health`."""
    verb = {VERB: str(sign["verb"])}
    loops = sign["loops"]
    ages = [sign["written"] - loop["beat"] for loop in loops if loop["beat"] is not None]
    yield Reading(LAST_SEEN, time() - max([0.0, *ages]), verb)
    connections = [loop["connected_since"] is not None for loop in loops if loop["needs_connection"]]
    if connections:
        yield Reading(CONNECTED, float(all(connections)), verb)
    waits = [loop["waiting_for"] for loop in loops if loop["waiting_for"] is not None]
    if not sign["started"]:
        waits.append(sign["waiting_for"])
    for waits_for in sorted(set(waits)):
        yield Reading(WAITING, waits.count(waits_for), verb | {WAITING_FOR: waits_for})
