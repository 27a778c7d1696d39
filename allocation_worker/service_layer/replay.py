"""Announcing again what was announced, for a subscriber that has missed some."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from allocation_contracts import AllocationError
from allocation_worker.domain.errors import quoted
from allocation_worker.service_layer.outgoing import OutgoingEvent


class ReplayError(AllocationError):
    """What is asked for is not there. Its text is one sentence that says why, and what to do."""


class KeptEvents(NamedTuple):
    """What the history has of one SKU.

    Attributes:
        counted: how many events the SKU has had.
        kept_from: from which sequence on all are kept; None if none is.
        published: how many of those asked for are kept and published.
    """

    counted: int
    kept_from: int | None
    published: int


class PublishedEvents(Protocol):
    """The history, as it stood at one moment."""

    def kept(self, sku: str, first: int, last: int | None) -> KeptEvents | None:
        """What it has of a SKU, and of a range, or all from `first` on; None if the SKU was never heard of."""

    def events(self, sku: str, first: int, last: int) -> Iterator[OutgoingEvent]:
        """The published events of a range, in order, each as it was first announced; read as they are asked for."""


class Replayed(NamedTuple):
    """`events` of them, `first` to `last`, were announced again."""

    events: int
    first: int
    last: int


def replay(
    history: PublishedEvents,
    publish: Callable[[Iterable[OutgoingEvent]], int],
    *,
    sku: str,
    first: int,
    last: int | None = None,
) -> Replayed:
    """Announce the events `first` to `last` of a SKU again, or all from `first` on.

    Raises:
        ReplayError: some of them are not there; nothing was announced.
    """
    if last is not None and first > last:
        raise ReplayError(f"The range from {first} to {last} is empty; --from must not be above --to.")
    kept = history.kept(sku, first, last)
    if kept is None:
        raise ReplayError(f"SKU {quoted(sku)} was never heard of; look at its spelling.")
    last = last or kept.counted
    if last > kept.counted or first > kept.counted:
        raise ReplayError(
            f"SKU {quoted(sku)} has had {kept.counted} events so far; ask for some of 1 to {kept.counted}."
        )
    if kept.kept_from is None:
        raise ReplayError(
            f"No event of SKU {quoted(sku)} is in the history any more, which is kept for ALLOCATION_HISTORY_DAYS."
        )
    if first < kept.kept_from:
        raise ReplayError(
            f"The history of SKU {quoted(sku)} is kept from event {kept.kept_from} on, those before are too old "
            f"(ALLOCATION_HISTORY_DAYS); replay from there, and take what came before from the read model."
        )
    missing = last - first + 1 - kept.published
    if missing:
        raise ReplayError(
            f"{missing} of the events {first} to {last} of SKU {quoted(sku)} are not published yet; "
            "see that `relay` runs, then replay again."
        )
    return Replayed(publish(history.events(sku, first, last)), first, last)
