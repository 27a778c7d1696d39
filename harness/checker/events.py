"""Checks a run by its confirmed commands and its events. It uses no code of the worker.

Anything that the wire contract does not explain is a fault.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import allocation_contracts as contracts
from harness.checker.answers import check_answers, check_rejections
from harness.checker.messages import ReceivedEvent, SentCommand
from harness.checker.rules import Replay
from harness.checker.states import BatchState, LineKey, LineState


@dataclass(slots=True)
class Report:
    """The result of a run. The run is correct if there are no faults."""

    faults: list[str] = field(default_factory=list)
    batches: dict[str, BatchState] = field(default_factory=dict)
    lines: dict[LineKey, LineState] = field(default_factory=dict)
    """The lines that hold stock or wait for it, by (orderid, sku, lineid)."""
    counts: dict[str, int] = field(default_factory=dict)

    def fault(self, sentence: str) -> None:
        self.faults.append(sentence)


def check(
    sent: Iterable[SentCommand], received: Sequence[ReceivedEvent], *, dead: Collection[str] = frozenset()
) -> Report:
    """Check a run.

    Args:
        sent: The confirmed commands. A repeated message_id counts once.
        received: All events of a queue bound with `#`, in order.
        dead: The message_ids of the dead letters, which must have no outcome.
    """
    report = Report()
    commands = {command.message_id: command for command in sent}
    _check_duplicates(report, received)
    check_answers(report.fault, commands, received, dead)
    _check_sequences(report, received)
    replay = _replay(report, commands, received)
    check_rejections(report.fault, commands, received, replay)
    for event in {(event.message_id, event.causation_id): event for event in received}.values():
        report.counts[event.type] = report.counts.get(event.type, 0) + 1
    return report


def _check_duplicates(report: Report, received: Iterable[ReceivedEvent]) -> None:
    first: dict[str, ReceivedEvent] = {}
    for event in received:
        known = first.setdefault(event.message_id, event)
        if (known.type, known.body) != (event.type, event.body):
            report.fault(f"Two different events came under the message_id {event.message_id}.")


def _check_sequences(report: Report, received: Iterable[ReceivedEvent]) -> None:
    seen: dict[str, dict[int, str]] = defaultdict(dict)
    for event in received:
        if event.type == contracts.CommandRejected.TYPE:
            continue
        sku, sequence = event.data["sku"], event.data["sequence"]
        known = seen[sku]
        if sequence not in known and sequence != len(known) + 1:
            report.fault(f"SKU {sku}: event {sequence} came where {len(known) + 1} was due.")
        if known.setdefault(sequence, event.message_id) != event.message_id:
            report.fault(f"SKU {sku}: two events have the sequence {sequence}.")


def _replay(report: Report, commands: Mapping[str, SentCommand], received: Iterable[ReceivedEvent]) -> Replay:
    once: dict[str, ReceivedEvent] = {}
    for event in received:
        if event.type != contracts.CommandRejected.TYPE:
            once.setdefault(event.message_id, event)
    replay = Replay(report.fault)
    for event in sorted(once.values(), key=lambda event: (event.data["sku"], event.data["sequence"])):
        command = commands.get(event.causation_id)
        replay.apply(
            event.type,
            event.data,
            event.causation_id,
            {"type": command.type, **json.loads(command.body)} if command else {},
            event.properties.timestamp,
        )
    replay.end()
    report.batches, report.lines = replay.batches, replay.states()
    return replay
