"""The use case `replay`: publishes past events again, for a subscriber that has missed some."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from allocation_contracts import AllocationError
from allocation_worker.domain.errors import quoted
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import PublishedEvents
from allocation_worker.service_layer.wording import counted


class ReplayError(AllocationError):
    """The requested events are not stored. The text is one sentence that says why, and what to do."""


class Replayed(NamedTuple):
    """The result: the number of events published again, and their first and last `sequence`."""

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
    """Publish the events `first` to `last` of a SKU again, or all from `first` on.

    Raises:
        ReplayError: Some of the events are not stored; nothing was published.
    """
    if last is not None and first > last:
        raise ReplayError(f"The range from {first} to {last} is empty; --from must not be above --to.")
    kept = history.kept(sku, first, last)
    if kept is None:
        raise ReplayError(f"SKU {quoted(sku)} was never heard of; look at its spelling.")
    last = last or kept.counted
    if last > kept.counted or first > kept.counted:
        had = counted(kept.counted, "event")
        raise ReplayError(f"SKU {quoted(sku)} has had {had} so far; ask for some of 1 to {kept.counted}.")
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
