"""Formats the output of `explain`: the story of one command, as text or JSON."""

from collections.abc import Iterator
from shlex import quote
from typing import Any

from rich.text import Text

from allocation_worker.cli import event_words as words
from allocation_worker.cli.output import lines
from allocation_worker.cli.tables import FittedTable, console, shown, table
from allocation_worker.domain import events
from allocation_worker.domain.events import ProductEvent
from allocation_worker.domain.history import Share
from allocation_worker.domain.stock import Batch
from allocation_worker.service_layer.decisions import Considered, Decision, Verdict
from allocation_worker.service_layer.explain import Events, Story, Told
from allocation_worker.service_layer.ports import Answer, Rejection
from allocation_worker.service_layer.wording import counted

A_SCREEN = 20

_OTHERWISE = (
    "Today's rules would decide otherwise: another version of the program decided then, or the line was asked for with "
    "another day then."
)


def print_story(story: Story) -> None:
    """Print a story as sentences and tables."""
    out = console()
    out.print(Text(lines("\n".join(opening(story)))))
    for decision in story.decisions:
        out.print(_batches(decision))
        if not decision.agrees:
            out.print(Text(_OTHERWISE))
    if story.decided > len(story.decisions) and story.batches_known:
        out.print(Text(f"{counted(story.decided - len(story.decisions), 'more line')} looked for stock."))
    if story.events:
        out.print(_events(story))
    if story.since:
        out.print(_since(story))


def print_events_about(subject: str, found: Events) -> None:
    """Print the events about an order or a SKU as a table."""
    console().print(
        table(
            f"Events about {subject}",
            ("time", "type", "SKU", "order or batch", "change", "because", "command"),
            [
                (
                    shown(each.answer.created_at),
                    each.answer.type,
                    *words.subject(each.answer.event),
                    words.change(each.answer.event),
                    words.because(each),
                    each.answer.causation_id,
                )
                for each in found.last
            ],
            besides=f"Besides, {found.left_out} earlier ones." if found.left_out else "",
        )
    )


def events_as_json(found: Events) -> dict[str, Any]:
    """Return the events about an order or a SKU for JSON."""
    return {"earlier_events": found.left_out, "events": [_told_json(each) for each in found.last]}


def _told_json(told: Told) -> dict[str, Any]:
    return _answer_json(told.answer) | {
        "causation_id": told.answer.causation_id,
        "created_at": told.answer.created_at.isoformat(),
        "because": words.because(told) or None,
    }


def as_json(story: Story) -> dict[str, Any]:
    """Return a story for JSON; times are in ISO 8601."""
    return {
        "message_id": story.message_id,
        "received_at": story.arrival and story.arrival.received_at.isoformat(),
        "deliveries": story.arrival and story.arrival.deliveries,
        "outcome": story.first and words.outcome(story.first.event),
        "repeats": story.repeats
        and {"causation_id": story.repeats.causation_id, "created_at": story.repeats.created_at.isoformat()},
        "priority": story.terms.priority,
        "needed_by": story.terms.needed_by and story.terms.needed_by.isoformat(),
        "before": story.before and story.before._asdict(),
        "batches_known": story.batches_known,
        "lines_decided": story.decided,
        "decisions": [_decision_json(decision) for decision in story.decisions],
        "events": story.events,
        "published": story.published,
        "first_events": [_answer_json(answer) for answer in story.answers],
        "since": [_told_json(told) for told in story.since],
        "later_events": len(story.since) + story.since_left_out,
    }


def opening(story: Story) -> Iterator[str]:
    """Yield what is known of a command, a sentence each."""
    if story.arrival is None:
        yield f"{story.message_id}: the inbox has forgotten it (ALLOCATION_INBOX_DAYS); its events are still kept."
    else:
        yield f"{story.message_id}: taken at {shown(story.arrival.received_at)}."
        if story.arrival.deliveries > 1:
            yield f"Messages under this id came {story.arrival.deliveries} times; only the first had an effect."
    if story.first is None:
        yield "It was answered, but the history has forgotten how (ALLOCATION_HISTORY_DAYS)."
        return
    if story.repeats:
        yield (
            f"Nothing had to change: what {story.repeats.causation_id} brought about at "
            f"{shown(story.repeats.created_at)} still holds, and its event was published again. "
            "No batch was considered."
        )
    yield words.outcome(story.first.event)
    if not story.repeats:
        yield from _of_line(story, story.first.event)
        yield from _followed(story, story.first.event)
    if story.decided and not story.batches_known:
        yield _unknown(story)
    if not story.since:
        yield from _still(story, story.first.event)


def _of_line(story: Story, event: ProductEvent | Rejection) -> Iterator[str]:
    """Yield what is known of the line of the outcome besides: what was asked for, and what it had before."""
    if isinstance(event, events.Allocated | events.Backordered | events.OutOfStock):
        if story.terms.needed_by:
            yield f"It is needed by {story.terms.needed_by}; a batch that arrives later is not for it."
        if story.terms.priority:
            yield f"Its priority is {story.terms.priority}; of the lines that wait, the higher are served first."
    if story.before is not None:
        yield from _before(story.before, event)


def _still(story: Story, event: ProductEvent | Rejection) -> Iterator[str]:
    """Yield what the line of the outcome does now, if nothing has happened to it since."""
    match event:
        case events.Held():
            yield "It is still held."
        case events.Backordered() | events.LineQuantityChanged(batchref=None) if story.terms.wait:
            yield f"It still waits; `allocation-worker show waiting --sku {quote(event.sku)}` shows the queue."


def _before(share: Share, event: ProductEvent | Rejection) -> Iterator[str]:
    had = f"{share.qty} of batch {share.batchref}"
    match event:
        case events.Allocated(batchref=share.batchref):
            yield f"This confirmed its hold: {had}. No batch was considered."
        case events.Allocated() | events.OutOfStock() | events.Backordered():
            yield f"It gave up its hold, {had}, which arrives too late for it."
        case events.Held():
            yield f"This changed its hold, which was {had}."
        case events.LineQuantityChanged() if share.only_held:
            yield f"It is only held, as long as before; it was {had}."
        case events.LineQuantityChanged():
            yield f"It had {had} before."
        case events.Deallocated() if share.only_held:
            yield "Its stock was only held."


def _followed(story: Story, event: ProductEvent | Rejection) -> Iterator[str]:
    """Yield what the command has done to other lines."""
    count, again = story.followed, story.placed_again
    shrunk = isinstance(event, events.BatchQuantityChanged)
    taken_off, lapsed = count[events.Deallocated], count[events.HoldLapsed]
    if isinstance(event, events.BatchEtaChanged):
        yield f"{counted(count[events.PromiseChanged], 'line of it was', 'lines of it were')} told of the change."
    if shrunk and (lapsed or count[events.Held]):
        held = count[events.Held]
        both = counted(lapsed + held, "line was", "lines were")
        yield f"{both} only held, and taken off first: {held} held again, {lapsed} lapsed."
    if taken_off:
        why = "no longer fitted, the last asked" if shrunk else "needed it before"
        yield (
            f"{counted(taken_off, 'line')} {why}; each looked for stock again, the first asked first: "
            f"{again[events.Allocated]} allocated, {again[events.Backordered]} waiting, "
            f"{again[events.OutOfStock]} out of stock."
        )
    if shrunk and not (taken_off or lapsed or count[events.Held]):
        yield "No line had to be moved."
    if story.served:
        served = counted(story.served, "line")
        yield f"{served} that waited got stock: the higher priority first, then the first asked."


def _unknown(story: Story) -> str:
    if story.changed_since is None:
        return "The batches of that time are unknown: some of the SKU's later events were pruned."
    return (
        f"The batches of that time are unknown: the quantity of {words.line(story.changed_since)} was changed since, "
        "and the event that tells its batch before was pruned."
    )


def _batches(decision: Decision) -> FittedTable:
    event = decision.event
    long = len(decision.considered) > A_SCREEN
    used_up = sum(batch.available_quantity == 0 for batch, _ in decision.considered) if long else 0
    rows = [
        (
            batch.reference,
            batch.eta.isoformat() if batch.eta else "in the warehouse",
            batch.purchased_quantity,
            batch.available_quantity,
            _verdict(batch, verdict, decision),
        )
        for batch, verdict in decision.considered
        if batch.available_quantity or not long
    ]
    needed_by = f" by {decision.terms.needed_by}" if decision.terms.needed_by else ""
    own = "; its own stock counts as left" if decision.before else ""
    wish = f"{words.line(event)}, which wants {event.qty}{needed_by}"
    return table(
        f"Batches considered for {wish}, just before the decision{own}",
        ("batch", "ETA", "purchased", "left", "verdict"),
        rows,
        besides=f"Besides, {counted(used_up, 'batch', 'batches')} had nothing left." if used_up else "",
    )


def _verdict(batch: Batch, verdict: Verdict, decision: Decision) -> str:
    if verdict == "too little left":
        return f"passed over: {batch.available_quantity} left, {decision.event.qty} wanted"
    if verdict == "too late":
        return f"passed over: it arrives after {decision.terms.needed_by}, the day that the line is needed"
    return "not needed" if verdict == "not needed" else "took the line"


def _events(story: Story) -> FittedTable:
    left_out = story.events - len(story.answers)
    return table(
        f"Events: {story.events}, {story.published} of them published",
        ("sequence", "type", "order or batch", "change", "message_id", "published"),
        [
            (
                _sequence(each) or "",
                each.type,
                words.subject(each.event)[1],
                "" if isinstance(each.event, Rejection) else words.change(each.event),
                each.message_id,
                _published(each),
            )
            for each in story.answers
        ],
        besides=f"Besides, {left_out} more." if left_out else "",
    )


def _since(story: Story) -> FittedTable:
    _, subject = words.subject(story.since[0].answer.event)
    return table(
        f"What has happened to order {subject} since",
        ("time", "type", "change", "because", "command"),
        [
            (
                shown(each.answer.created_at),
                each.answer.type,
                words.change(each.answer.event),
                words.because(each),
                each.answer.causation_id,
            )
            for each in story.since
        ],
        besides=f"Besides, {story.since_left_out} more." if story.since_left_out else "",
    )


def _published(answer: Answer) -> str:
    if answer.published_at:
        return shown(answer.published_at)
    return "no queue is bound for it; it is offered again" if answer.unwanted else "not yet"


def _sequence(answer: Answer) -> int | None:
    return None if isinstance(answer.event, Rejection) else answer.event.sequence


def _decision_json(decision: Decision) -> dict[str, Any]:
    event = decision.event
    return {
        "orderid": event.orderid,
        "sku": event.sku,
        "lineid": event.lineid,
        "qty": event.qty,
        "needed_by": decision.terms.needed_by and decision.terms.needed_by.isoformat(),
        "batchref": None if isinstance(event, events.OutOfStock | events.Backordered) else event.batchref,
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
    sku, subject = words.subject(answer.event)
    return {
        "type": answer.type,
        "message_id": answer.message_id,
        "sequence": _sequence(answer),
        "sku": sku,
        "subject": subject,
        "change": words.change(answer.event),
        "published_at": answer.published_at and answer.published_at.isoformat(),
        "unwanted": answer.unwanted,
    }
