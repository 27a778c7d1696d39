"""Repeats a recorded decision on the stock for a line with today's rules, for `explain`."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from allocation_worker.domain import events
from allocation_worker.domain.errors import RefusalError
from allocation_worker.domain.history import Batches, Share
from allocation_worker.domain.lines import PLAIN, Holding, OrderLine, Terms
from allocation_worker.domain.model import Product
from allocation_worker.domain.stock import Batch

Verdict = Literal["took it", "too little left", "too late", "not needed"]
DecidedEvent = events.Allocated | events.OutOfStock | events.Backordered | events.Held | events.LineQuantityChanged
"""An event that tells a decision on the stock for a line."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Considered(NamedTuple):
    """A batch in its state just before a decision, without what the line has of it itself, and the verdict on it."""

    batch: Batch
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision on the stock for a line.

    Attributes:
        event: The recorded decision.
        terms: What was asked for the line beside its quantity, as it stands today.
        before: What the line had before.
        considered: The batches, in the order in which they were tried.
        agrees: Whether today's rules decide the same.
    """

    event: DecidedEvent
    terms: Terms
    before: Share | None
    considered: list[Considered]
    agrees: bool


def decide_again(batches: Batches, event: DecidedEvent, terms: Terms, before: Share | None = None) -> Decision:
    """Repeat a decision with today's rules.

    Args:
        batches: The batches just before the decision. They are not changed.
        event: The recorded decision.
        terms: What was asked for the line, as it stands today. It may have been asked for without, at that time.
        before: What the line had before.
    """
    asked = (terms, PLAIN) if terms != PLAIN else (PLAIN,)
    decisions = [_decide(batches, event, each, before) for each in asked]
    return next((decision for decision in decisions if decision.agrees), decisions[0])


def _decide(batches: Batches, event: DecidedEvent, terms: Terms, before: Share | None) -> Decision:
    product = Product(event.sku, sequence=event.sequence - 1)
    for batch in batches.values():
        product.bring_in(replace(batch))
    line = OrderLine(event.sku, event.orderid, event.lineid, terms=terms)
    if before:
        line.qty, line.batchref = before.qty, before.batchref
        line.hold = Holding(_LONG_AGO) if before.only_held else None
    product.lines[line.id] = line
    try:
        _repeat(product, line, event)
    except RefusalError:
        agrees = False
    else:
        [decided] = product.events
        if isinstance(decided, events.OutOfStock) and isinstance(event, events.OutOfStock):
            # It decides nothing, and earlier versions told another day.
            decided = replace(decided, next_eta=event.next_eta)
        agrees = decided == event
    considered = _considered(batches, line.batchref, terms, before)
    return Decision(event=event, terms=terms, before=before, considered=considered, agrees=agrees)


def _repeat(product: Product, line: OrderLine, event: DecidedEvent) -> None:
    match event:
        case events.Held():
            product.hold(line.id, event.qty, Holding(event.until))
        case events.LineQuantityChanged():
            line.qty, line.place = event.previous_qty, 1
            # A line that got stock by it, and had none, has waited.
            waited = line.terms.wait or (line.batchref is None and event.batchref is not None)
            line.terms = line.terms._replace(wait=waited)
            product.change_line_quantity(line.id, event.qty)
        case _:
            wait = isinstance(event, events.Backordered)
            product.allocate(line.id, event.qty, line.terms._replace(wait=wait))


def _considered(batches: Batches, taker: str | None, terms: Terms, before: Share | None) -> list[Considered]:
    """Return the batches in the order in which they were tried: the one that the line is on already before others."""
    own = before.batchref if before else None
    considered: list[Considered] = []
    taken = False
    for batch in sorted(map(replace, batches.values()), key=lambda each: (each.reference != own, each.preference())):
        if before and batch.reference == own:
            batch.allocated_quantity -= before.qty
        verdict: Verdict = "not needed" if taken else "too little left"
        if not taken and not terms.allow(batch.eta):
            verdict = "too late"
        if batch.reference == taker:
            taken = True
            verdict = "took it"
        considered.append(Considered(batch, verdict))
    return considered
