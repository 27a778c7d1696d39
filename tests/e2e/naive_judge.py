"""Compares what running processes have answered with the naive shop, SKU by SKU in the order of `sequence`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import allocation_contracts as contracts
from allocation_worker.domain.commands import Command, Hold, LapseHold
from harness.checker.messages import ReceivedEvent
from tests.fakes.naive_shop import Answer, NaiveShop


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A command as it was sent.

    Attributes:
        correlation_id: What its events must carry.
        seen: How many events had been received by then.
    """

    command: Command
    sku: str
    correlation_id: str
    seen: int


@dataclass(slots=True)
class _Unnumbered:
    """An answer that changes nothing: a rejection, or an event that is announced again.

    Attributes:
        after: The last `sequence` that had been received when the command was sent.
        before: The first `sequence` that was caused by a command sent after the answer; 0 if there is none.
        fits: Whether the naive shop answers so at some moment between these two.
    """

    event: ReceivedEvent
    after: int
    before: int
    fits: bool = False
    naive: list[Answer] = field(default_factory=list)


def differences(asked: Mapping[str, Asked], received: Sequence[ReceivedEvent]) -> list[str]:
    """Return what the naive shop does not answer, in sentences.

    Args:
        asked: The commands, by message_id. Those of one SKU name no batch of another one.
        received: All events, in order. What was published again counts once.
    """
    distinct = {(event.message_id, event.causation_id): at for at, event in reversed(list(enumerate(received)))}
    events = [(at, received[at]) for at in sorted(distinct.values())]
    answered = {event.causation_id for _, event in events}
    faults = [f"{message_id} has no answer." for message_id in asked if message_id not in answered]
    faults += [
        f"{asked[event.causation_id].command} was answered by {event.type} with the properties {event.properties}."
        for _, event in events
        if not _well_sent(asked[event.causation_id], event)
    ]
    by_sku: defaultdict[str, list[tuple[int, ReceivedEvent]]] = defaultdict(list)
    for at, event in events:
        by_sku[asked[event.causation_id].sku].append((at, event))
    for sku, of_sku in by_sku.items():
        faults += [f"SKU {sku}: {fault}" for fault in _of_sku(asked, of_sku)]
    return faults


def _well_sent(asked: Asked, event: ReceivedEvent) -> bool:
    """Return whether an event has the properties of the contract, also if it is about another line, or comes late."""
    properties = event.properties
    return (
        event.correlation_id == asked.correlation_id
        and event.routing_key == event.type.removesuffix(".v1")
        and (properties.content_type, properties.app_id, properties.delivery_mode)
        == ("application/json", "allocation-worker", 2)
    )


def _of_sku(asked: Mapping[str, Asked], events: Sequence[tuple[int, ReceivedEvent]]) -> Iterator[str]:
    numbered: list[tuple[int, ReceivedEvent]] = []
    rest: list[tuple[int, ReceivedEvent]] = []
    known: set[str] = set()
    for at, event in events:
        new = event.type != contracts.CommandRejected.TYPE and event.message_id not in known
        known.add(event.message_id)
        (numbered if new else rest).append((at, event))
    stream = [event for _, event in numbered]
    if [event.data["sequence"] for event in stream] != list(range(1, len(stream) + 1)):
        yield "the events did not come in the order of their sequence, each once."
        return
    unnumbered = [_unnumbered(asked, numbered, at, event) for at, event in rest]
    shop, position = NaiveShop(), 0
    done: set[str] = set()
    _look(shop, asked, unnumbered, 0)
    while position < len(stream):
        event = stream[position]
        command = _cause(asked[event.causation_id].command, event, again=event.causation_id in done)
        if command is None:
            yield f"{event.causation_id} had a second effect: {event.type} {event.data}."
            return
        done.add(event.causation_id)
        expected = shop.answer(command)
        found = [_answer(each) for each in stream[position : position + len(expected)]]
        if not expected or found != expected:
            yield f"{command} was answered by {found} instead of {expected}."
            return
        position += len(expected)
        _look(shop, asked, unnumbered, position)
    for each in unnumbered:
        command = asked[each.event.causation_id].command
        if each.event.causation_id in done:
            yield f"{command} had a second answer, {_answer(each.event)}."
        done.add(each.event.causation_id)
        if not each.fits:
            yield f"{command} was answered by {_answer(each.event)}; the naive shop said {each.naive}."


def _unnumbered(
    asked: Mapping[str, Asked], numbered: Sequence[tuple[int, ReceivedEvent]], at: int, event: ReceivedEvent
) -> _Unnumbered:
    seen = asked[event.causation_id].seen
    after = max((each.data["sequence"] for when, each in numbered if when < seen), default=0)
    later = (each.data["sequence"] for _, each in numbered if asked[each.causation_id].seen > at)
    return _Unnumbered(event, after, min(later, default=0))


def _look(shop: NaiveShop, asked: Mapping[str, Asked], unnumbered: Sequence[_Unnumbered], position: int) -> None:
    """Ask a copy of the shop for the answers that may have been given now."""
    for each in unnumbered:
        if not each.fits and each.after <= position and (not each.before or position < each.before):
            each.naive = deepcopy(shop).answer(asked[each.event.causation_id].command)
            each.fits = each.naive == [_answer(each.event)]


def _cause(command: Command, event: ReceivedEvent, *, again: bool) -> Command | None:
    """Return the command that has caused an event: that of its message, or the end of the hold that it asked for."""
    if not again:
        return command
    if not isinstance(command, Hold) or event.type != contracts.HoldLapsed.TYPE:
        return None
    return LapseHold(orderid=command.orderid, sku=command.sku, lineid=command.lineid, message_id=event.causation_id)


def _answer(event: ReceivedEvent) -> Answer:
    body: dict[str, Any] = dict(event.data)
    return (event.type, {"reason": body["reason"]} if event.type == contracts.CommandRejected.TYPE else body)
