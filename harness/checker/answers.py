"""Checks that each command has one outcome, that it is about what was asked, and that rejections are true."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import allocation_contracts as contracts
from harness.checker.messages import ReceivedEvent, SentCommand
from harness.checker.rules import Replay
from harness.checker.states import PLACED

_AS_IT_STANDS = {contracts.Allocated.TYPE, contracts.PromiseChanged.TYPE, contracts.LineQuantityChanged.TYPE}
"""What may have been said last of a line that is allocated."""

_SERVED = {contracts.Allocated.TYPE}
"""What comes of a line that waits."""

OUTCOMES: Mapping[str, frozenset[str]] = {
    type_: frozenset({contracts.CommandRejected.TYPE, *outcomes})
    for type_, outcomes in {
        contracts.Allocate.TYPE: _AS_IT_STANDS | PLACED,
        contracts.ChangeLineQuantity.TYPE: _AS_IT_STANDS | {contracts.Backordered.TYPE, contracts.Held.TYPE},
        contracts.Hold.TYPE: _AS_IT_STANDS | {contracts.OutOfStock.TYPE, contracts.Held.TYPE},
        contracts.Deallocate.TYPE: {contracts.Deallocated.TYPE},
        contracts.Ship.TYPE: {contracts.Shipped.TYPE},
        contracts.CreateBatch.TYPE: {contracts.BatchCreated.TYPE},
        contracts.ChangeBatchQuantity.TYPE: {contracts.BatchQuantityChanged.TYPE},
        contracts.ChangeBatchEta.TYPE: {contracts.BatchEtaChanged.TYPE},
    }.items()
}
"""The events that may be the outcome of a command."""

FOLLOWING: Mapping[str, Collection[str]] = {
    contracts.Allocate.TYPE: _SERVED,
    contracts.Hold.TYPE: _SERVED | {contracts.HoldLapsed.TYPE},
    contracts.Deallocate.TYPE: _SERVED,
    contracts.ChangeLineQuantity.TYPE: _SERVED,
    contracts.CreateBatch.TYPE: _SERVED,
    contracts.ChangeBatchQuantity.TYPE: PLACED
    | {contracts.Deallocated.TYPE, contracts.Held.TYPE, contracts.HoldLapsed.TYPE},
    contracts.ChangeBatchEta.TYPE: PLACED | {contracts.Deallocated.TYPE, contracts.PromiseChanged.TYPE},
}
"""The events of other lines that a command may cause after its outcome."""

REASONS: Mapping[str, frozenset[str]] = {
    contracts.Allocate.TYPE: frozenset({"unknown-sku", "line-cancelled", "line-shipped", "line-quantity-conflict"}),
    contracts.Hold.TYPE: frozenset(
        {"unknown-sku", "line-cancelled", "line-shipped", "line-quantity-conflict", "not-enough-stock"}
    ),
    contracts.Deallocate.TYPE: frozenset({"line-shipped"}),
    contracts.Ship.TYPE: frozenset({"line-cancelled", "line-not-allocated", "batch-not-arrived"}),
    contracts.ChangeLineQuantity.TYPE: frozenset(
        {"unknown-line", "line-cancelled", "line-shipped", "line-quantity-conflict", "not-enough-stock"}
    ),
    contracts.CreateBatch.TYPE: frozenset({"batch-exists"}),
    contracts.ChangeBatchQuantity.TYPE: frozenset({"unknown-batch", "batch-shipped"}),
    contracts.ChangeBatchEta.TYPE: frozenset({"unknown-batch", "batch-arrived"}),
}
"""The reasons for which a command may be rejected."""


def check_answers(
    fault: Callable[[str], None],
    commands: Mapping[str, SentCommand],
    received: Iterable[ReceivedEvent],
    dead: Collection[str],
) -> None:
    """Check that each command has one outcome, about what it asked for, before the events of other lines.

    Args:
        fault: Called with a sentence for each fault.
        commands: The commands by message_id.
        received: All events, in order.
        dead: The message_ids of the dead letters, which must have no outcome.
    """
    answers: dict[str, dict[str, ReceivedEvent]] = defaultdict(dict)
    following: dict[str, list[ReceivedEvent]] = defaultdict(list)
    for event in received:
        command = commands.get(event.causation_id)
        if command is None:
            fault(f"{event.type} {event.message_id} was caused by {event.causation_id!r}, which was never sent.")
        elif event.type in OUTCOMES[command.type] and _is_about_its_line(event, command):
            if event.message_id not in answers[event.causation_id]:
                _check_content(fault, event, command)
            answers[event.causation_id][event.message_id] = event
        elif event.type in FOLLOWING.get(command.type, ()):
            following[event.causation_id].append(event)
        else:
            fault(f"{command.type} {command.message_id} was answered by {event.type}.")
    for message_id, command in commands.items():
        expected = 0 if message_id in dead else 1
        outcomes = list(answers[message_id].values())
        if len(outcomes) != expected:
            fault(f"{command.type} {message_id} has {len(outcomes)} outcomes instead of {expected}.")
        for outcome in outcomes:
            _check_following(fault, outcome, following[message_id])


def _check_following(fault: Callable[[str], None], outcome: ReceivedEvent, following: Iterable[ReceivedEvent]) -> None:
    """Check that the events of other lines come after the outcome; after a rejection there are none."""
    for event in following:
        if outcome.type == contracts.CommandRejected.TYPE:
            fault(f"{event.causation_id} was rejected, and caused {event.type} {event.message_id}.")
        elif event.data["sequence"] < outcome.data["sequence"]:
            fault(f"{event.type} {event.message_id} came before the outcome of {event.causation_id}.")


def check_rejections(
    fault: Callable[[str], None],
    commands: Mapping[str, SentCommand],
    received: Iterable[ReceivedEvent],
    replay: Replay,
) -> None:
    """Check the rejections whose reason, once true, is true for ever."""
    for event in received:
        if event.type != contracts.CommandRejected.TYPE or event.causation_id not in commands:
            continue
        reason, asked = event.data["reason"], json.loads(commands[event.causation_id].body)
        line = (asked.get("orderid", ""), asked.get("sku", ""), asked.get("lineid") or "")
        batch = replay.batches.get(asked.get("batchref", ""))
        true = {
            "line-cancelled": line in replay.cancelled,
            "line-shipped": line in replay.shipped,
            "batch-arrived": batch is not None and batch.eta is None,
            "batch-shipped": batch is not None and asked.get("qty", 0) < batch.shipped,
            "batch-exists": batch is not None
            and batch.created != (asked.get("sku"), asked.get("qty"), asked.get("eta")),
        }
        if not true.get(reason, True):
            fault(f"{event.causation_id} was rejected, {reason}, and that is not so: {asked}.")


def _check_content(fault: Callable[[str], None], event: ReceivedEvent, command: SentCommand) -> None:
    """Check that an outcome is about what was asked for."""
    asked = json.loads(command.body)
    if event.type == contracts.CommandRejected.TYPE:
        if event.data["command"] != command.type or event.data["reason"] not in REASONS[command.type]:
            rejected = f"{event.data['command']}, {event.data['reason']}"
            fault(f"{command.type} {command.message_id} was rejected as {rejected}.")
        return
    for name in sorted(asked.keys() & event.data.keys()):
        true, told = asked[name], event.data[name]
        if name == "until":
            right = datetime.fromisoformat(told) <= datetime.fromisoformat(true)
        else:
            right = told == (true or "" if name == "lineid" else true)
        if not right:
            fault(f"{command.type} {command.message_id} asked for the {name} {true!r}, and the answer says {told!r}.")
    if command.type == contracts.Deallocate.TYPE and event.data["reason"] != "cancelled":
        fault(f"{command.message_id} cancelled a line, and the reason is {event.data['reason']!r}.")


def _is_about_its_line(event: ReceivedEvent, command: SentCommand) -> bool:
    """Return whether the event is about the line that the command names, if it names one."""
    named: Mapping[str, Any] = json.loads(command.body)
    if "orderid" not in event.data or "orderid" not in named:
        return True
    line = (named["orderid"], named["sku"], named.get("lineid") or "")
    return line == (event.data["orderid"], event.data["sku"], event.data["lineid"])
