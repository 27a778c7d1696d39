"""What was before a command, for `explain`: today's batches, with all that has come since undone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from allocation_worker.domain import events
from allocation_worker.domain.events import ProductEvent
from allocation_worker.domain.history import Batches, Share, Shares, redo, undo
from allocation_worker.service_layer.ports import Records, Rejection


@dataclass(slots=True)
class Past:
    """What was before the events of a command.

    Attributes:
        batches: The batches just before the next event; None if they are not known.
        changed_since: Why they are not known, if that is why: a change of quantity whose line's earlier events were
            pruned.
        shares: What the line of each event had before it, if it had something; by the sequence of the event. Known are
            those of lines that were ever held or changed in quantity.
        freed: The sequences of events before which the holds of their lines had been taken off a batch already.
    """

    batches: Batches | None = None
    changed_since: events.LineQuantityChanged | None = None
    shares: Mapping[int, Share] = field(default_factory=dict)
    freed: set[int] = field(default_factory=set)

    def share_of(self, event: ProductEvent) -> Share | None:
        """Return what the line of an event had just before it."""
        return None if event.sequence in self.freed else self.shares.get(event.sequence)

    def take_holds_off(self, answers: Iterable[ProductEvent | Rejection]) -> None:
        """Free the stock that a batch that shrinks takes from holds: at first, though it is told at last."""
        if self.batches is None:
            return
        for event in answers:
            if isinstance(event, events.HoldLapsed | events.Held) and (share := self.shares.get(event.sequence)):
                self.batches[share.batchref].allocated_quantity -= share.qty
                self.freed.add(event.sequence)

    def go_on(self, event: ProductEvent) -> None:
        """Bring the batches to just after the next event."""
        lapsed_already = event.sequence in self.freed and isinstance(event, events.HoldLapsed)
        if self.batches is not None and not lapsed_already:
            redo(self.batches, event, self.share_of(event))


def past_of(records: Records, first: ProductEvent, created_at: datetime) -> Past:
    """Return what was before a command.

    Args:
        records: All that is stored.
        first: The first event of the command.
        created_at: When that was recorded.
    """
    shares: dict[int, Share] = {}
    changed_since: events.LineQuantityChanged | None = None
    earlier = Shares()
    for event in records.changed_lines(first.sku):
        known = earlier.know(event)
        share = earlier.take(event)
        if event.sequence < first.sequence:
            continue
        if not known and isinstance(event, events.LineQuantityChanged):
            changed_since = changed_since or event
        elif share:
            shares[event.sequence] = share
    batches = None if changed_since else _batches_before(records, first, created_at, shares)
    return Past(batches, changed_since, shares)


def _batches_before(
    records: Records, first: ProductEvent, created_at: datetime, shares: Mapping[int, Share]
) -> Batches | None:
    last, batches = records.batches(first.sku)
    due = last
    for event in records.back_to(first.sku, first.sequence, created_at):
        share = shares.get(event.sequence)
        named = {getattr(event, "batchref", None), share and share.batchref}
        batch_is_gone = named - {None, *batches}
        if event.sequence != due or batch_is_gone:
            return None
        undo(batches, event, share)
        due -= 1
    return batches if due == first.sequence - 1 else None
