"""The use case `explain`: reconstructs the history of one command.

It needs no data of its own. It takes the batches of today and undoes all later events, which gives the batches just
before the decision. Then the domain's rules decide again, and the result is compared with the recorded decision.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, NamedTuple

from allocation_worker.domain import events
from allocation_worker.domain.events import ProductEvent
from allocation_worker.domain.history import UNTRACEABLE, Stock, redo, undo
from allocation_worker.domain.lines import OrderLine, Terms
from allocation_worker.domain.model import Batch, Product
from allocation_worker.service_layer.ports import Answer, InboxEntry, Records, Rejection

DECISIONS_TOLD = 20
EVENTS_TOLD = 50
EVENTS_LISTED = 200

Verdict = Literal["took it", "too little left", "too late", "not needed"]
DecidedEvent = events.Allocated | events.OutOfStock | events.Backordered
"""An event that tells a decision on the stock for a line."""


class Considered(NamedTuple):
    """A batch in its state just before a decision, and the verdict on it."""

    batch: Batch
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision on the stock for a line.

    Attributes:
        event: The recorded decision.
        considered: The batches, in order of preference.
        agrees: Whether today's rules decide the same.
    """

    event: DecidedEvent
    considered: list[Considered]
    agrees: bool


@dataclass(slots=True, kw_only=True)
class Story:
    """What is known of a command.

    Attributes:
        message_id: The command's message_id.
        arrival: The inbox entry; None if it was pruned (ALLOCATION_INBOX_DAYS).
        first: The outcome; None if it was pruned (ALLOCATION_HISTORY_DAYS).
        repeats: The earlier event that the outcome repeats, if it is not a new one.
        batches_known: Whether the batches of that time could be reconstructed.
        decisions: The first decisions on the stock for lines.
        decided: The number of these decisions.
        answers: The first events.
        events: The number of events.
        published: The number of published events.
    """

    message_id: str
    arrival: InboxEntry | None
    first: Answer | None = None
    repeats: Answer | None = None
    batches_known: bool = False
    decisions: list[Decision] = field(default_factory=list)
    decided: int = 0
    answers: list[Answer] = field(default_factory=list)
    events: int = 0
    published: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The events about an order or a SKU: the last ones, and the number of those before them."""

    last: list[Answer]
    left_out: int


def events_about(records: Records, *, orderid: str | None, sku: str | None) -> Events:
    """Return the events about an order, or a SKU, or both."""
    last: deque[Answer] = deque(maxlen=EVENTS_LISTED)
    count = 0
    for count, answer in enumerate(records.about(orderid, sku), start=1):  # noqa: B007 - the last number counts
        last.append(answer)
    return Events(last=list(last), left_out=count - len(last))


def explain(records: Records, message_id: str) -> Story | None:
    """Return the story of a command; None if nothing is stored under its message_id."""
    arrival = records.arrival(message_id)
    answers = records.answers(message_id, arrival.received_at if arrival else None)
    first = next(answers, None)
    story = Story(message_id=message_id, arrival=arrival, first=first)
    if first is None:
        return story if arrival else None
    stock: Stock | None = None
    if not isinstance(first.event, Rejection):
        original = records.first_announced(first.event.sku, first.event.sequence)
        if original.id != first.id:
            story.repeats = original
        else:
            stock = _stock_before(records, first.event, first.created_at)
            story.batches_known = stock is not None
    _tell(story, first, stock, records)
    for answer in answers:
        _tell(story, answer, stock, records)
    return story


def _stock_before(records: Records, first: ProductEvent, created_at: datetime) -> Stock | None:
    last, stock = records.stock(first.sku)
    due = last
    for event in records.back_to(first.sku, first.sequence, created_at):
        batch_is_gone = getattr(event, "batchref", None) not in {None, *stock}
        if event.sequence != due or batch_is_gone or isinstance(event, UNTRACEABLE):
            return None
        undo(stock, event)
        due -= 1
    return stock if due == first.sequence - 1 else None


def _tell(story: Story, answer: Answer, stock: Stock | None, records: Records) -> None:
    story.events += 1
    story.published += answer.published_at is not None
    if len(story.answers) < EVENTS_TOLD:
        story.answers.append(answer)
    event = answer.event
    if isinstance(event, Rejection) or story.repeats:
        return
    if isinstance(event, DecidedEvent):
        story.decided += 1
        if stock is not None and len(story.decisions) < DECISIONS_TOLD:
            terms = records.terms(event.sku, (event.orderid, event.lineid))
            story.decisions.append(decide_again(stock, event, terms))
    if stock is not None and not isinstance(event, UNTRACEABLE):
        redo(stock, event)


def decide_again(stock: Stock, event: DecidedEvent, terms: Terms) -> Decision:
    """Repeat a decision with today's rules.

    Args:
        stock: The batches just before the decision. They are not changed.
        event: The recorded decision.
        terms: What was asked for the line, as it stands today.
    """
    product = Product(event.sku, sequence=event.sequence - 1)
    for batch in stock.values():
        product.bring_in(replace(batch))
    line = (event.orderid, event.lineid)
    product.lines[line] = OrderLine(*line)
    product.allocate(line, event.qty, terms._replace(wait=isinstance(event, events.Backordered)))
    [decided] = product.events
    taker = product.lines[line].batchref
    if isinstance(decided, events.OutOfStock) and isinstance(event, events.OutOfStock):
        # It decides nothing, and earlier versions told another day.
        decided = replace(decided, next_eta=event.next_eta)
    return Decision(event=event, considered=_considered(stock, taker, terms), agrees=decided == event)


def _considered(stock: Stock, taker: str | None, terms: Terms) -> list[Considered]:
    considered: list[Considered] = []
    taken = False
    for batch in sorted(stock.values(), key=Batch.preference):
        verdict: Verdict = "not needed" if taken else "too little left"
        if not taken and not terms.allow(batch.eta):
            verdict = "too late"
        if batch.reference == taker:
            taken = True
            verdict = "took it"
        considered.append(Considered(replace(batch), verdict))
    return considered
