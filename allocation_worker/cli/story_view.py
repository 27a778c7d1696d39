"""Formats the output of `explain`: the story of one command, as text or JSON."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from rich.table import Table
from rich.text import Text

from allocation_worker.cli.output import lines
from allocation_worker.cli.tables import console, shown, table
from allocation_worker.domain import events
from allocation_worker.domain.events import ProductEvent
from allocation_worker.domain.model import Batch
from allocation_worker.service_layer.explain import Considered, DecidedEvent, Decision, Events, Story
from allocation_worker.service_layer.ports import Answer, Rejection

A_SCREEN = 20


def print_story(story: Story) -> None:
    """Print a story as sentences and tables."""
    out = console()
    out.print(Text(lines("\n".join(_opening(story)))))
    for decision in story.decisions:
        out.print(_batches(decision))
        if not decision.agrees:
            out.print(Text("Today's rules would decide otherwise: another version of the program decided then."))
    if story.decided > len(story.decisions) and story.batches_known:
        out.print(Text(f"{story.decided - len(story.decisions)} more lines looked for stock."))
    if story.events:
        out.print(_events(story))


def print_events_about(subject: str, found: Events) -> None:
    """Print the events about an order or a SKU as a table."""
    console().print(
        table(
            f"Events about {subject}",
            ("time", "type", "SKU", "order or batch", "change", "command"),
            [
                (shown(each.created_at), each.type, *_subject(each.event), _change(each.event), each.causation_id)
                for each in found.last
            ],
            besides=f"Besides, {found.left_out} earlier ones." if found.left_out else "",
        )
    )


def events_as_json(found: Events) -> dict[str, Any]:
    """Return the events about an order or a SKU for JSON."""
    return {
        "earlier_events": found.left_out,
        "events": [
            _answer_json(each)
            | {
                "causation_id": each.causation_id,
                "created_at": each.created_at.isoformat(),
                "sku": _subject(each.event)[0],
                "subject": _subject(each.event)[1],
                "change": _change(each.event),
            }
            for each in found.last
        ],
    }


def _subject(event: ProductEvent | Rejection) -> tuple[str, str]:
    """Return the SKU, and the line or the batch."""
    match event:
        case Rejection():
            line = "/".join(str(event.data[name]) for name in ("orderid", "lineid") if event.data.get(name))
            return str(event.data.get("sku", "")), line or str(event.data.get("batchref", ""))
        case events.BatchCreated() | events.BatchQuantityChanged() | events.BatchEtaChanged():
            return event.sku, event.batchref
        case _:
            return event.sku, f"{event.orderid}/{event.lineid}" if event.lineid else event.orderid


def _change(event: ProductEvent | Rejection) -> str:  # noqa: C901, PLR0911 - one for each event
    match event:
        case Rejection():
            return f"{event.command}, {event.reason}: {event.detail}"
        case events.Allocated():
            return f"{event.qty} of batch {event.batchref}, {_where(event.eta)}"
        case events.OutOfStock() | events.Backordered():
            return f"{event.qty} wanted, {event.largest_available} to be had"
        case events.Deallocated():
            freed = f"{event.qty} back to batch {event.batchref}" if event.batchref else "held no stock"
            return f"{freed} ({event.reason})"
        case events.BatchCreated():
            return f"{event.qty}, {_where(event.eta)}"
        case events.BatchQuantityChanged():
            return f"from {event.previous_qty} to {event.qty}"
        case events.BatchEtaChanged():
            return f"{_where(event.previous_eta)}, now {_where(event.eta)}"
        case events.PromiseChanged():
            return f"{event.qty} of batch {event.batchref}, {_where(event.previous_eta)}, now {_where(event.eta)}"
        case events.Shipped():
            return f"{event.qty} of batch {event.batchref} shipped"
        case events.Held():
            return f"{event.qty} of batch {event.batchref}, {_where(event.eta)}, until {shown(event.until)}"
        case events.HoldLapsed():
            return f"{event.qty} back to batch {event.batchref}"
        case events.LineQuantityChanged():
            return f"from {event.previous_qty} to {event.qty}, {_held(event)}"


def _held(event: events.LineQuantityChanged) -> str:
    return f"allocated to batch {event.batchref}, {_where(event.eta)}" if event.batchref else "it holds no stock"


def _where(eta: date | None) -> str:
    return f"due on {eta}" if eta else "in the warehouse"


def as_json(story: Story) -> dict[str, Any]:
    """Return a story for JSON; times are in ISO 8601."""
    return {
        "message_id": story.message_id,
        "received_at": story.arrival and story.arrival.received_at.isoformat(),
        "deliveries": story.arrival and story.arrival.deliveries,
        "outcome": story.first and outcome(story.first.event),
        "repeats": story.repeats
        and {"causation_id": story.repeats.causation_id, "created_at": story.repeats.created_at.isoformat()},
        "batches_known": story.batches_known,
        "lines_decided": story.decided,
        "decisions": [_decision_json(decision) for decision in story.decisions],
        "events": story.events,
        "published": story.published,
        "first_events": [_answer_json(answer) for answer in story.answers],
    }


def outcome(event: ProductEvent | Rejection) -> str:  # noqa: C901, PLR0911, PLR0912 - one for each event
    """Return the outcome of a command in one sentence."""
    match event:
        case Rejection():
            return f"{event.command} was rejected, {event.reason}: {event.detail} No batch was considered."
        case events.Allocated():
            return (
                f"allocate.v1 asked for {event.qty} for {_line(event)}: allocated to batch {event.batchref}, "
                f"{_where(event.eta)}."
            )
        case events.OutOfStock():
            return (
                f"allocate.v1 asked for {event.qty} for {_line(event)}: out of stock, "
                f"the most that one batch could give was {event.largest_available}."
            )
        case events.Backordered():
            return (
                f"allocate.v1 asked for {event.qty} for {_line(event)}: it waits for stock, "
                f"the most that one batch could give was {event.largest_available}."
            )
        case events.Deallocated():
            freed = f"{event.qty} of batch {event.batchref} were freed" if event.batchref else "it held no stock"
            return f"deallocate.v1 cancelled {_line(event)}: {freed}."
        case events.BatchCreated():
            return f"create-batch.v1 added batch {event.batchref}: {event.qty} of SKU {event.sku}, {_where(event.eta)}."
        case events.BatchQuantityChanged():
            return (
                f"change-batch-quantity.v1 changed batch {event.batchref} of SKU {event.sku} "
                f"from {event.previous_qty} to {event.qty}."
            )
        case events.BatchEtaChanged():
            return (
                f"change-batch-eta.v1 changed batch {event.batchref} of SKU {event.sku}: "
                f"{_where(event.previous_eta)}, now {_where(event.eta)}."
            )
        case events.PromiseChanged():
            return (
                f"{_line(event)} stays with batch {event.batchref}: {_where(event.previous_eta)}, "
                f"now {_where(event.eta)}."
            )
        case events.Shipped():
            return f"ship.v1 shipped {_line(event)}: {event.qty} of batch {event.batchref}."
        case events.Held():
            return (
                f"hold.v1 asked for {event.qty} for {_line(event)}: held of batch {event.batchref}, "
                f"{_where(event.eta)}, until {shown(event.until)}."
            )
        case events.HoldLapsed():
            return f"The hold of {_line(event)} lapsed: {event.qty} of batch {event.batchref} were freed."
        case events.LineQuantityChanged():
            change = f"from {event.previous_qty} to {event.qty}"
            return f"change-line-quantity.v1 changed {_line(event)} {change}: {_held(event)}."


def _opening(story: Story) -> Iterator[str]:
    if story.arrival is None:
        yield f"{story.message_id}: the inbox has forgotten it (ALLOCATION_INBOX_DAYS); its events are still kept."
    else:
        yield f"{story.message_id}: taken at {shown(story.arrival.received_at)}."
        if story.arrival.deliveries > 1:
            yield f"Messages under this id came {story.arrival.deliveries} times; only the first had an effect."
    if story.first is None:
        yield "It was answered, but the history has forgotten how (ALLOCATION_HISTORY_DAYS)."
        return
    yield outcome(story.first.event)
    if story.repeats:
        yield (
            f"Nothing had to change: {story.repeats.causation_id} had the same effect at "
            f"{shown(story.repeats.created_at)}, and its event was published again. No batch was considered."
        )
    elif isinstance(story.first.event, events.BatchQuantityChanged):
        yield _moved(story)
    if story.decided and not story.batches_known:
        yield "The batches of that time are unknown: some of the SKU's later events were pruned."


def _moved(story: Story) -> str:
    if not story.decided:
        return "No line had to be moved."
    return (
        f"{story.decided} lines no longer fitted, the last asked; each looked for stock again, the first asked first."
    )


def _batches(decision: Decision) -> Table:
    event = decision.event
    long = len(decision.considered) > A_SCREEN
    used_up = sum(batch.available_quantity == 0 for batch, _ in decision.considered) if long else 0
    rows = [
        (
            batch.reference,
            batch.eta.isoformat() if batch.eta else "in the warehouse",
            batch.purchased_quantity,
            batch.available_quantity,
            _verdict(batch, verdict, event),
        )
        for batch, verdict in decision.considered
        if batch.available_quantity or not long
    ]
    return table(
        f"Batches considered for {_line(event)}, which wants {event.qty}, just before the decision",
        ("batch", "ETA", "purchased", "left", "verdict"),
        rows,
        besides=f"Besides, {used_up} batches had nothing left." if used_up else "",
    )


def _verdict(batch: Batch, verdict: str, event: DecidedEvent) -> str:
    if verdict == "too little left":
        return f"passed over: {batch.available_quantity} left, {event.qty} wanted"
    if verdict == "too late":
        return "passed over: it arrives after the day that the line is needed"
    if verdict == "not needed":
        return "not needed"
    return "took the line"


def _events(story: Story) -> Table:
    left_out = story.events - len(story.answers)
    return table(
        f"Events: {story.events}, {story.published} of them published",
        ("sequence", "type", "message_id", "published"),
        [(_sequence(each) or "", each.type, each.message_id, _published(each)) for each in story.answers],
        besides=f"Besides, {left_out} more." if left_out else "",
    )


def _published(answer: Answer) -> str:
    if answer.published_at:
        return shown(answer.published_at)
    return "no queue is bound for it; it is offered again" if answer.unwanted else "not yet"


def _sequence(answer: Answer) -> int | None:
    return None if isinstance(answer.event, Rejection) else answer.event.sequence


def _line(
    event: DecidedEvent
    | events.PromiseChanged
    | events.LineQuantityChanged
    | events.Shipped
    | events.Held
    | events.HoldLapsed
    | events.Deallocated,
) -> str:
    suffix = f", lineid {event.lineid}" if event.lineid else ""
    return f"order {event.orderid}, SKU {event.sku}{suffix}"


def _decision_json(decision: Decision) -> dict[str, Any]:
    event = decision.event
    return {
        "orderid": event.orderid,
        "sku": event.sku,
        "lineid": event.lineid,
        "qty": event.qty,
        "batchref": event.batchref if isinstance(event, events.Allocated) else None,
        "agrees": decision.agrees,
        "considered": [_considered_json(each) for each in decision.considered],
    }


def _considered_json(considered: Considered) -> dict[str, Any]:
    batch = considered.batch
    return {
        "batchref": batch.reference,
        "eta": batch.eta and batch.eta.isoformat(),
        "purchased": batch.purchased_quantity,
        "available": batch.available_quantity,
        "verdict": considered.verdict,
    }


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {
        "type": answer.type,
        "message_id": answer.message_id,
        "sequence": _sequence(answer),
        "published_at": answer.published_at and answer.published_at.isoformat(),
        "unwanted": answer.unwanted,
    }
