"""Checks a run by its confirmed commands and its events. It uses no code of the worker.

Anything that the wire contract does not explain is a fault.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pika.spec import BasicProperties

import allocation_contracts as contracts
from harness.checker.rules import BatchState, LineKey, Replay

OUTCOMES: Mapping[str, frozenset[str]] = {
    contracts.Allocate.TYPE: frozenset(
        {
            contracts.Allocated.TYPE,
            contracts.OutOfStock.TYPE,
            contracts.Backordered.TYPE,
            contracts.PromiseChanged.TYPE,
            contracts.LineQuantityChanged.TYPE,
            contracts.CommandRejected.TYPE,
        }
    ),
    contracts.ChangeLineQuantity.TYPE: frozenset(
        {
            contracts.LineQuantityChanged.TYPE,
            contracts.Allocated.TYPE,
            contracts.PromiseChanged.TYPE,
            contracts.Backordered.TYPE,
            contracts.Held.TYPE,
            contracts.CommandRejected.TYPE,
        }
    ),
    contracts.Hold.TYPE: frozenset(
        {
            contracts.Held.TYPE,
            contracts.OutOfStock.TYPE,
            contracts.Allocated.TYPE,
            contracts.PromiseChanged.TYPE,
            contracts.LineQuantityChanged.TYPE,
            contracts.CommandRejected.TYPE,
        }
    ),
    contracts.Deallocate.TYPE: frozenset({contracts.Deallocated.TYPE, contracts.CommandRejected.TYPE}),
    contracts.Ship.TYPE: frozenset({contracts.Shipped.TYPE, contracts.CommandRejected.TYPE}),
    contracts.CreateBatch.TYPE: frozenset({contracts.BatchCreated.TYPE, contracts.CommandRejected.TYPE}),
    contracts.ChangeBatchQuantity.TYPE: frozenset(
        {contracts.BatchQuantityChanged.TYPE, contracts.CommandRejected.TYPE}
    ),
    contracts.ChangeBatchEta.TYPE: frozenset({contracts.BatchEtaChanged.TYPE, contracts.CommandRejected.TYPE}),
}
"""The events that may be the outcome of a command."""

FOLLOWING: Mapping[str, frozenset[str]] = {
    contracts.Allocate.TYPE: frozenset({contracts.Allocated.TYPE}),
    contracts.Hold.TYPE: frozenset({contracts.Allocated.TYPE, contracts.HoldLapsed.TYPE}),
    contracts.Deallocate.TYPE: frozenset({contracts.Allocated.TYPE}),
    contracts.ChangeLineQuantity.TYPE: frozenset({contracts.Allocated.TYPE}),
    contracts.CreateBatch.TYPE: frozenset({contracts.Allocated.TYPE}),
    contracts.ChangeBatchQuantity.TYPE: frozenset(
        {
            contracts.Deallocated.TYPE,
            contracts.Allocated.TYPE,
            contracts.OutOfStock.TYPE,
            contracts.Backordered.TYPE,
            contracts.HoldLapsed.TYPE,
            contracts.Held.TYPE,
        }
    ),
    contracts.ChangeBatchEta.TYPE: frozenset(
        {
            contracts.PromiseChanged.TYPE,
            contracts.Deallocated.TYPE,
            contracts.Allocated.TYPE,
            contracts.OutOfStock.TYPE,
            contracts.Backordered.TYPE,
        }
    ),
}
"""The events of other lines that a command may cause after its outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCommand:
    """A command that the broker has confirmed."""

    message_id: str
    type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event as a subscriber received it."""

    type: str
    message_id: str
    correlation_id: str
    causation_id: str
    routing_key: str
    body: bytes
    data: Mapping[str, Any] = field(compare=False)
    properties: BasicProperties = field(compare=False)

    @classmethod
    def of(cls, properties: BasicProperties, body: bytes, *, routing_key: str) -> Self:
        """Return the event that was delivered with these properties; a property that is absent is empty."""
        return cls(
            type=properties.type or "",
            message_id=properties.message_id or "",
            correlation_id=properties.correlation_id or "",
            causation_id=str((properties.headers or {}).get(contracts.CAUSATION_ID_HEADER, "")),
            routing_key=routing_key,
            body=body,
            data=json.loads(body),
            properties=properties,
        )


@dataclass(slots=True)
class Report:
    """The result of a run. The run is correct if there are no faults."""

    faults: list[str] = field(default_factory=list)
    batches: dict[str, BatchState] = field(default_factory=dict)
    lines: dict[LineKey, tuple[str, int]] = field(default_factory=dict)
    """The batch and the quantity that each line holds, by (orderid, sku, lineid)."""
    shipped: set[LineKey] = field(default_factory=set)
    """The lines that were shipped."""
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
    _check_answers(report, commands, received, dead)
    _check_sequences(report, received)
    _replay(report, commands, received)
    for event in {(event.message_id, event.causation_id): event for event in received}.values():
        report.counts[event.type] = report.counts.get(event.type, 0) + 1
    return report


def _check_duplicates(report: Report, received: Iterable[ReceivedEvent]) -> None:
    first: dict[str, ReceivedEvent] = {}
    for event in received:
        known = first.setdefault(event.message_id, event)
        if (known.type, known.body) != (event.type, event.body):
            report.fault(f"Two different events came under the message_id {event.message_id}.")


def _check_answers(
    report: Report, commands: Mapping[str, SentCommand], received: Iterable[ReceivedEvent], dead: Collection[str]
) -> None:
    answers: dict[str, set[str]] = defaultdict(set)
    for event in received:
        command = commands.get(event.causation_id)
        if command is None:
            report.fault(f"{event.type} {event.message_id} was caused by {event.causation_id!r}, which was never sent.")
        elif event.type in OUTCOMES[command.type] and _is_about_its_line(event, command):
            answers[event.causation_id].add(event.message_id)
        elif event.type not in FOLLOWING.get(command.type, ()):
            report.fault(f"{command.type} {command.message_id} was answered by {event.type}.")
    for message_id, command in commands.items():
        expected = 0 if message_id in dead else 1
        if len(answers[message_id]) != expected:
            report.fault(f"{command.type} {message_id} has {len(answers[message_id])} outcomes instead of {expected}.")


def _is_about_its_line(event: ReceivedEvent, command: SentCommand) -> bool:
    """Return whether the event is about the line that the command names, if it names one."""
    named = json.loads(command.body)
    if "orderid" not in event.data or "orderid" not in named:
        return True
    line = (named["orderid"], named["sku"], named.get("lineid") or "")
    return line == (event.data["orderid"], event.data["sku"], event.data["lineid"])


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


def _replay(report: Report, commands: Mapping[str, SentCommand], received: Iterable[ReceivedEvent]) -> None:
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
        )
    replay.end()
    report.batches, report.lines, report.shipped = replay.batches, replay.lines, replay.shipped
