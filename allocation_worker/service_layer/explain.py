"""The use case `explain`: reconstructs the history of one command.

It needs no data of its own. It takes the batches of today and undoes all later events, which gives the batches just
before the decision. Then the domain's rules decide again, and the result is compared with the recorded decision.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from allocation_worker.domain import events
from allocation_worker.domain.events import ProductEvent
from allocation_worker.domain.history import Share, line_of
from allocation_worker.domain.lines import PLAIN, Terms
from allocation_worker.service_layer.decisions import DecidedEvent, Decision, decide_again
from allocation_worker.service_layer.past import Past, past_of
from allocation_worker.service_layer.ports import Answer, InboxEntry, Records, Rejection

DECISIONS_TOLD = 20
EVENTS_TOLD = 50
EVENTS_LISTED = 200
EVENTS_SINCE = 20


class Told(NamedTuple):
    """An event of the history, and the outcome that it followed; None if it is the outcome itself."""

    answer: Answer
    because: ProductEvent | Rejection | None


@dataclass(slots=True, kw_only=True)
class Story:
    """What is known of a command.

    Attributes:
        message_id: The command's message_id.
        arrival: The inbox entry; None if it was pruned (ALLOCATION_INBOX_DAYS).
        first: The outcome; None if it was pruned (ALLOCATION_HISTORY_DAYS).
        repeats: The earlier event that the outcome repeats, if it is not a new one.
        before: What the line of the outcome had before, if it is known and the outcome is about a line.
        terms: What was asked for the line of the outcome beside its quantity, as it stands today.
        batches_known: Whether the batches of that time could be reconstructed.
        changed_since: A line whose quantity was changed since, and of which no earlier event is kept, if that is why
            they could not.
        decisions: The first decisions on the stock for lines.
        decided: The number of these decisions.
        answers: The first events.
        events: The number of events.
        published: The number of published events.
        followed: The number of events after the outcome, by kind.
        placed_again: The outcomes of the lines that were taken off a batch, by kind.
        since: The first later events about the line of the outcome.
        since_left_out: The number of those after these.
    """

    message_id: str
    arrival: InboxEntry | None
    first: Answer | None = None
    repeats: Answer | None = None
    before: Share | None = None
    terms: Terms = PLAIN
    batches_known: bool = False
    changed_since: events.LineQuantityChanged | None = None
    decisions: list[Decision] = field(default_factory=list)
    decided: int = 0
    answers: list[Answer] = field(default_factory=list)
    events: int = 0
    published: int = 0
    followed: Counter[type] = field(default_factory=Counter)
    placed_again: Counter[type] = field(default_factory=Counter)
    since: list[Told] = field(default_factory=list)
    since_left_out: int = 0

    @property
    def served(self) -> int:
        """The number of lines that waited and were allocated."""
        return self.followed[events.Allocated] - self.placed_again[events.Allocated]


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The events about an order or a SKU: the last ones, and the number of those before them."""

    last: list[Told]
    left_out: int


def events_about(records: Records, *, orderid: str | None, sku: str | None) -> Events:
    """Return the events about an order, or a SKU, or both."""
    last: deque[Answer] = deque(maxlen=EVENTS_LISTED)
    count = 0
    for count, answer in enumerate(records.about(orderid, sku), start=1):  # noqa: B007 - the last number counts
        last.append(answer)
    return Events(last=[_told(records, answer) for answer in last], left_out=count - len(last))


def _told(records: Records, answer: Answer) -> Told:
    """Look for the outcome that an event followed, if it is one that can follow another."""
    if line_of(answer.event) is None:
        return Told(answer, None)
    outcome = records.outcome(answer.causation_id, answer.created_at)
    return Told(answer, None if outcome.id == answer.id else outcome.event)


def explain(records: Records, message_id: str) -> Story | None:
    """Return the story of a command; None if nothing is stored under its message_id."""
    arrival = records.arrival(message_id)
    answers = records.answers(message_id, arrival and arrival.received_at)
    first = next(answers, None)
    story = Story(message_id=message_id, arrival=arrival, first=first)
    if first is None:
        return story if arrival else None
    past = Past()
    if not isinstance(first.event, Rejection):
        original = records.first_announced(first.event.sku, first.event.sequence)
        if original.id != first.id:
            story.repeats = original
        else:
            past = past_of(records, first.event, first.created_at)
            story.batches_known = past.batches is not None
            story.changed_since = past.changed_since
            story.before = past.share_of(first.event)
        _tell_since(story, first, records)
    _tell(story, first, past, records)
    if isinstance(first.event, events.BatchQuantityChanged):
        past.take_holds_off(answer.event for answer in records.answers(message_id, arrival and arrival.received_at))
    for answer in answers:
        _tell(story, answer, past, records)
    return story


def _tell_since(story: Story, first: Answer, records: Records) -> None:
    line = line_of(first.event)
    if line is None or isinstance(first.event, Rejection):
        return
    sku, sequence = first.event.sku, first.event.sequence
    story.terms = records.terms(sku, line)
    created_at = story.repeats.created_at if story.repeats else first.created_at
    for answer in records.since(sku, line, sequence, created_at):
        if len(story.since) < EVENTS_SINCE:
            story.since.append(_told(records, answer))
        else:
            story.since_left_out += 1


def _tell(story: Story, answer: Answer, past: Past, records: Records) -> None:
    story.events += 1
    story.published += answer.published_at is not None
    if len(story.answers) < EVENTS_TOLD:
        story.answers.append(answer)
    event = answer.event
    if isinstance(event, Rejection) or story.repeats:
        return
    if story.events > 1:
        _count(story, event)
    before = past.share_of(event)
    if isinstance(event, DecidedEvent) and not _is_confirmation(event, before):
        story.decided += 1
        if past.batches is not None and len(story.decisions) < DECISIONS_TOLD:
            terms = records.terms(event.sku, (event.orderid, event.lineid))
            story.decisions.append(decide_again(past.batches, event, terms, before))
    past.go_on(event)


def _count(story: Story, event: ProductEvent) -> None:
    """Count an event that followed the outcome. Lines that were taken off a batch look for stock before others do."""
    if isinstance(event, events.Allocated | events.OutOfStock | events.Backordered) and (
        story.placed_again.total() < story.followed[events.Deallocated]
    ):
        story.placed_again[type(event)] += 1
    story.followed[type(event)] += 1


def _is_confirmation(event: DecidedEvent, before: Share | None) -> bool:
    """Return whether the line was allocated what was held for it. No batch was considered then."""
    return isinstance(event, events.Allocated) and before is not None and before.batchref == event.batchref
