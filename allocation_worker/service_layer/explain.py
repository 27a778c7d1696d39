"""The story of one command, told from what is stored.

Nothing is stored for its sake. The batches as they stood just before the decision are those of today, with every event
since taken back; then the rules decide once more, and it is compared with what was decided.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, NamedTuple

from allocation_worker.domain import events
from allocation_worker.domain.events import ProductEvent
from allocation_worker.domain.history import Stock, redo, undo
from allocation_worker.domain.model import Batch, OrderLine, Product
from allocation_worker.service_layer.ports import Answer, InboxEntry, Records, Rejection

DECISIONS_TOLD = 20
EVENTS_TOLD = 50

Verdict = Literal["took it", "too little left", "not needed"]


class Considered(NamedTuple):
    """A batch, as it stood just before a decision, and what became of it."""

    batch: Batch
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A line that looked for stock.

    Attributes:
        event: What was decided.
        considered: The batches in order of preference.
        agrees: Whether today's rules decide the same.
    """

    event: events.Allocated | events.OutOfStock
    considered: list[Considered]
    agrees: bool


@dataclass(slots=True, kw_only=True)
class Story:
    """What is known of a command.

    Attributes:
        message_id: Whose story it is.
        arrival: None if the inbox has forgotten it (ALLOCATION_INBOX_DAYS).
        first: Its outcome; None if the history has forgotten it (ALLOCATION_HISTORY_DAYS).
        repeats: The answer that was announced again, where it was no new one.
        batches_known: Whether the batches could be brought back to that moment.
        decisions: The first of the lines that looked for stock.
        decided: How many lines did.
        answers: The first of its events.
        events: How many there are.
        published: How many of them are published.
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


def explain(records: Records, message_id: str) -> Story | None:
    """The story of a command; None if nothing is known of it."""
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
    _tell(story, first, stock)
    for answer in answers:
        _tell(story, answer, stock)
    return story


def _stock_before(records: Records, first: ProductEvent, created_at: datetime) -> Stock | None:
    last, stock = records.stock(first.sku)
    due = last
    for event in records.back_to(first.sku, first.sequence, created_at):
        if event.sequence != due:
            return None
        undo(stock, event)
        due -= 1
    return stock if due == first.sequence - 1 else None


def _tell(story: Story, answer: Answer, stock: Stock | None) -> None:
    story.events += 1
    story.published += answer.published_at is not None
    if len(story.answers) < EVENTS_TOLD:
        story.answers.append(answer)
    event = answer.event
    if isinstance(event, Rejection) or story.repeats:
        return
    if isinstance(event, events.Allocated | events.OutOfStock):
        story.decided += 1
        if stock is not None and len(story.decisions) < DECISIONS_TOLD:
            story.decisions.append(decide_again(stock, event))
    if stock is not None:
        redo(stock, event)


def decide_again(stock: Stock, event: events.Allocated | events.OutOfStock) -> Decision:
    """Have the rules decide once more what led to the event.

    Args:
        stock: The batches just before; they are left as they are.
        event: What was decided.
    """
    product = Product(event.sku, sequence=event.sequence - 1)
    for batch in stock.values():
        product.bring_in(replace(batch))
    line = (event.orderid, event.lineid)
    product.lines[line] = OrderLine(*line)
    product.allocate(line, event.qty)
    [decided] = product.events
    taker = product.lines[line].batchref
    return Decision(event=event, considered=_considered(stock, taker), agrees=decided == event)


def _considered(stock: Stock, taker: str | None) -> list[Considered]:
    considered: list[Considered] = []
    taken = False
    for batch in sorted(stock.values(), key=Batch.preference):
        verdict: Verdict = "not needed" if taken else "too little left"
        if batch.reference == taker:
            taken = True
            verdict = "took it"
        considered.append(Considered(replace(batch), verdict))
    return considered
