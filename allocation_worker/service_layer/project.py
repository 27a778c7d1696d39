"""The use case `project`: applies events to the read model, repairs it and rebuilds it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain, groupby, islice
from threading import Lock
from typing import Literal, NamedTuple, TypeVar

import structlog

from allocation_worker.domain import events
from allocation_worker.service_layer.outcomes import Done, Outcome
from allocation_worker.service_layer.ports import (
    CountedEvent,
    GenerationClosedError,
    GenerationMissingError,
    LineStatus,
    LineView,
    OpenWriteModel,
    ProjectedEvent,
    ReadModel,
    RejectionView,
    StoreUnavailableError,
    WriteModel,
)

AT_A_TIME = 500
LONGEST_TRANSACTION = timedelta(hours=1)
"""An event may be published, and so applied, by this much later than the time that it is stored with."""
HEALING_ATTEMPTS = 3

log = structlog.get_logger()

_BEHIND = "The database does not have what was published: it may be an old copy, or behind."

_RESTORED = "The database was restored from a backup, so the read model is built anew."

T = TypeVar("T")


class DatabaseRestoredError(StoreUnavailableError):
    """The read model shows what the database has lost by a restored backup. No newer state of a line replaces it."""


class EventMessage(NamedTuple):
    """One event, as a subscriber receives it.

    Attributes:
        event: What it says of its SKU; None if it belongs to no SKU.
        type: Its type.
        message_id: Its own.
        correlation_id: The conversation.
        rejection: What it says of an order, if it is a rejection.
    """

    event: ProjectedEvent | None
    type: str
    message_id: str
    correlation_id: str
    rejection: RejectionView | None = None


Effect = Literal["created", "eta_changed", "frees", "frees_hold", "keeps_hold"]
"""What an event does to what the read model had before.

`created`: The batch is new.
`eta_changed`: The batch has another ETA.
`frees`: The line gives back what it had. If it had nothing and waits, it goes on waiting. If it was held, it stays so.
`frees_hold`: The line gives back what was only held for it.
`keeps_hold`: The line stays held if it was.
"""


class Change(NamedTuple):
    """What an event changes in the read model.

    Attributes:
        sku: The SKU of the event.
        sequence: The sequence of the event.
        line: The new state of a line, if the event changes one.
        batchref: The batch that changes, if any.
        allocated_by: The change of the batch's allocated quantity.
        purchased: The batch's new purchased quantity, if that changes.
        effect: What becomes of what the line or the batch had before, if the event does not say it all.
        eta: The batch's ETA, if it is new or has another one.
    """

    sku: str
    sequence: int
    line: LineView | None = None
    batchref: str | None = None
    allocated_by: int = 0
    purchased: int | None = None
    effect: Effect | None = None
    eta: str | None = None


def change_of(event: ProjectedEvent) -> Change:  # noqa: C901, PLR0911, PLR0912 - one for each event
    """Return what an event changes in the read model."""
    sku, sequence = event.sku, event.sequence
    status: LineStatus
    match event:
        case events.Allocated():
            line = LineView(
                event.orderid, sku, event.lineid, "allocated", event.qty, event.batchref, event.eta, sequence
            )
            return Change(sku, sequence, line, event.batchref, allocated_by=event.qty, effect="frees_hold")
        case events.Held():
            line = LineView(event.orderid, sku, event.lineid, "held", event.qty, event.batchref, event.eta, sequence)
            return Change(sku, sequence, line, event.batchref, allocated_by=event.qty, effect="frees_hold")
        case events.HoldLapsed():
            line = LineView(event.orderid, sku, event.lineid, "lapsed", 0, None, None, sequence)
            return Change(sku, sequence, line, event.batchref, allocated_by=-event.qty)
        case events.OutOfStock():
            line = LineView(event.orderid, sku, event.lineid, "out-of-stock", event.qty, None, None, sequence)
            return Change(sku, sequence, line, effect="frees_hold")
        case events.Backordered():
            line = LineView(event.orderid, sku, event.lineid, "waiting", event.qty, None, None, sequence)
            return Change(sku, sequence, line, effect="frees_hold")
        case events.Deallocated():
            # A line that a shrunk batch has lost is out of stock until its next event, which follows at once.
            status = "cancelled" if event.reason == "cancelled" else "out-of-stock"
            line = LineView(event.orderid, sku, event.lineid, status, event.qty, None, None, sequence)
            return Change(sku, sequence, line, event.batchref, allocated_by=-event.qty if event.batchref else 0)
        case events.PromiseChanged():
            line = LineView(
                event.orderid, sku, event.lineid, "allocated", event.qty, event.batchref, event.eta, sequence
            )
            return Change(sku, sequence, line, effect="keeps_hold")
        case events.LineQuantityChanged():
            status = "allocated" if event.batchref else "out-of-stock"
            line = LineView(event.orderid, sku, event.lineid, status, event.qty, event.batchref, event.eta, sequence)
            return Change(sku, sequence, line, event.batchref, allocated_by=event.qty, effect="frees")
        case events.Shipped():
            line = LineView(event.orderid, sku, event.lineid, "shipped", event.qty, event.batchref, None, sequence)
            return Change(sku, sequence, line)
        case events.BatchCreated():
            eta = event.eta.isoformat() if event.eta else None
            return Change(sku, sequence, None, event.batchref, purchased=event.qty, effect="created", eta=eta)
        case events.BatchEtaChanged():
            eta = event.eta.isoformat() if event.eta else None
            return Change(sku, sequence, None, event.batchref, effect="eta_changed", eta=eta)
        case events.BatchQuantityChanged():
            return Change(sku, sequence, None, event.batchref, purchased=event.qty)
        case CountedEvent():
            return Change(sku, sequence)


class Projector:
    """Applies events to the read model. It is thread-safe.

    It reads missing events from the outbox, or the current state from the tables if the outbox no longer holds the
    events. Changes are applied by sequence and idempotent, so a crash needs no repair.
    """

    def __init__(self, read_model: ReadModel, open_write_model: OpenWriteModel) -> None:
        self._read_model = read_model
        self._open_write_model = open_write_model
        self._doubtful = True
        self._incarnation = ""
        self._lock = Lock()

    def process(
        self,
        messages: Sequence[EventMessage],
        behind: object = (),  # noqa: ARG002 - only commands are set aside
        again: object = (),  # noqa: ARG002
    ) -> list[Outcome]:
        """Apply events, and return once the read model holds them. Events are never set aside.

        Raises:
            StoreUnavailableError: Redis or the database is unreachable, or behind; try again.
        """
        with self._lock:
            try:
                self._recover_if_doubtful()
                self._apply([message.event for message in messages if message.event is not None])
                self._read_model.put_rejections(
                    None, [message.rejection for message in messages if message.rejection is not None]
                )
                self._read_model.leave_sign_of_life()
            except StoreUnavailableError:
                # The store may come back without its last writes, or without any.
                self._doubtful = True
                raise
        return [Done()] * len(messages)

    def tend(self) -> None:
        """Check whether the read model has lost data, and repair it if so. Call this from time to time.

        Raises:
            StoreUnavailableError: Redis or the database is unreachable.
        """
        with self._lock:
            try:
                self._doubtful |= self._read_model.current() is None
                self._doubtful |= self._read_model.incarnation() != self._incarnation
                self._recover_if_doubtful()
                self._read_model.leave_sign_of_life()
            except StoreUnavailableError:
                self._doubtful = True
                raise

    def rebuild(self, *, takeover: bool = True) -> int:
        """Build a new generation, then switch readers to it. Return the number of its SKUs.

        Args:
            takeover: Whether to replace a rebuild that is under way.

        Raises:
            GenerationClosedError: Another rebuild has replaced this one.
            StoreUnavailableError: Redis or the database is unreachable, another rebuild is under way, or the database
                is behind the current generation.
        """
        generation = self._read_model.begin(takeover=takeover)
        log.info("read_model_building", generation=generation)
        with self._read_model.kept_open(generation):
            self._catch_up(generation)
            self._restore_rejections(generation, since=None)
            in_vain = 0
            while behind := self._read_model.switch(generation):
                # A concurrent `project` may have caught up with them already.
                in_vain = 0 if self._catch_up(generation, behind) else in_vain + 1
                if in_vain == HEALING_ATTEMPTS:
                    raise StoreUnavailableError(_BEHIND)
        self._read_model.forget_old()
        count = len(self._read_model.sequences(generation))
        log.info("read_model_built", generation=generation, skus=count)
        return count

    def _recover_if_doubtful(self) -> None:
        if not self._doubtful:
            return
        incarnation = self._read_model.incarnation()
        current = self._read_model.current()
        if current is None:
            self.rebuild(takeover=False)
        else:
            self._catch_up_or_rebuild(current)
            seen = self._read_model.last_sign_of_life()
            self._restore_rejections(None, since=seen and seen - LONGEST_TRANSACTION)
        self._incarnation = incarnation
        self._doubtful = False

    def _apply(self, batch: Sequence[ProjectedEvent]) -> None:
        for _ in range(HEALING_ATTEMPTS):
            try:
                gaps = self._read_model.apply(batch)
            except GenerationMissingError:
                log.warning("read_model_lost")
                self.rebuild(takeover=False)
                continue
            if not gaps:
                return
            for generation, skus in gaps.items():
                log.warning("read_model_events_missing", generation=generation, skus=sorted(skus)[:10])
                with suppress(GenerationClosedError):
                    self._catch_up_or_rebuild(generation, skus)
        raise StoreUnavailableError(_BEHIND)

    def _catch_up_or_rebuild(self, generation: int, skus: Collection[str] | None = None) -> None:
        try:
            self._catch_up(generation, skus)
        except DatabaseRestoredError:
            log.warning("database_restored", detail=_RESTORED)
            self.rebuild(takeover=False)

    def _catch_up(self, generation: int, skus: Collection[str] | None = None) -> bool:
        """Update these SKUs, or all, to the state of the write model. Return False if none was behind."""
        with self._open_write_model() as written:
            # In this order: the snapshot of the write model begins with its first query.
            have = self._read_model.sequences(generation, skus)
            restored_at = written.restored_at()
            if any(sequence < restored_at for sequence in have.values()):
                raise DatabaseRestoredError(_RESTORED)
            known = {**dict.fromkeys(chain(have, skus or ()), restored_at), **written.sequences(skus)}
            if ahead := [sku for sku, sequence in have.items() if sequence > known[sku]]:
                log.error("database_behind", skus=sorted(ahead)[:10], count=len(ahead))
            targets = {sku: sequence for sku, sequence in known.items() if sequence > have.get(sku, 0)}
            if not targets:
                return False
            reached = {sku: have.get(sku, 0) for sku in targets}
            self._replay(generation, written.events_after(dict(reached)), reached)
            pruned = [sku for sku, sequence in targets.items() if reached[sku] < sequence]
            if pruned:
                self._copy(generation, {sku: targets[sku] for sku in pruned}, written)
        log.info("read_model_caught_up", generation=generation, skus=len(targets), from_tables=len(pruned))
        return True

    def _restore_rejections(self, generation: int | None, since: datetime | None) -> None:
        """Read rejections from the history again; `generation` is as for `put_rejections`."""
        with self._open_write_model() as written:
            for chunk in _chunks(written.rejections(since)):
                self._read_model.put_rejections(generation, chunk)

    def _replay(self, generation: int, history: Iterator[ProjectedEvent], reached: dict[str, int]) -> None:
        for chunk in _chunks(history):
            following = []
            for event in chunk:
                if event.sequence == reached[event.sku] + 1:
                    reached[event.sku] = event.sequence
                    following.append(event)
            self._read_model.write(generation, following)

    def _copy(self, generation: int, targets: Mapping[str, int], written: WriteModel) -> None:
        for lines in _chunks(written.lines(targets)):
            self._read_model.put_lines(generation, lines)
        bare = set(targets)
        for sku, batches in groupby(written.batches(targets), key=lambda batch: batch.sku):
            bare.discard(sku)
            self._read_model.put_stock(generation, sku, targets[sku], list(batches))
        for sku in bare:
            self._read_model.put_stock(generation, sku, targets[sku], [])


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, AT_A_TIME)):
        yield chunk
