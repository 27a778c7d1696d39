"""What `replay` needs: the events that are kept of a SKU."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from allocation_worker.service_layer.outgoing import OutgoingEvent


class KeptEvents(NamedTuple):
    """What the history has of one SKU.

    Attributes:
        counted: How many events the SKU has had.
        kept_from: From which sequence on all are kept; None if none is.
        published: How many of those asked for are kept and published.
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
