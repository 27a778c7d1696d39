"""What `explain` needs: all that is stored of a command."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from allocation_worker.domain.events import ProductEvent
from allocation_worker.domain.history import Batches
from allocation_worker.domain.lines import LineId, Terms


class InboxEntry(NamedTuple):
    """When a command was taken, and how often it, or another under its id, has come."""

    received_at: datetime
    deliveries: int


class Rejection(NamedTuple):
    """A refusal, as it was announced, with the body of its command."""

    command: str
    reason: str
    detail: str
    data: Mapping[str, Any]


class Answer(NamedTuple):
    """An event in the history. `unwanted`: no queue was bound for it so far."""

    id: int
    event: ProductEvent | Rejection
    type: str
    message_id: str
    causation_id: str
    created_at: datetime
    published_at: datetime | None
    unwanted: bool


class Records(Protocol):
    """What is stored, as it stood at one moment."""

    def arrival(self, message_id: str) -> InboxEntry | None:
        """What the inbox knows of a message."""

    def answers(self, message_id: str, received_at: datetime | None) -> Iterator[Answer]:
        """The events that a message has caused, in order; looked for among those of one moment, or among all."""

    def about(self, orderid: str | None, sku: str | None) -> Iterator[Answer]:
        """All events about an order, or a SKU, or both, in order. A rejection is about what its command names."""

    def first_announced(self, sku: str, sequence: int) -> Answer:
        """An event as it was announced for the first time that is still kept."""

    def batches(self, sku: str) -> tuple[int, Batches]:
        """The sequence of the SKU's last event, and its batches after it."""

    def terms(self, sku: str, line: LineId) -> Terms:
        """What was asked for a line beside its quantity, as it stands today."""

    def changed_lines(self, sku: str) -> Iterator[ProductEvent]:
        """All kept events of each line of the SKU that was ever held or changed in quantity, in order; none twice."""

    def since(self, sku: str, line: LineId, sequence: int, created_at: datetime) -> Iterator[Answer]:
        """The events about a line after this one, which was decided then, in order; none twice."""

    def outcome(self, message_id: str, created_at: datetime) -> Answer:
        """The first event that a message has caused, of those that were decided then."""

    def back_to(self, sku: str, sequence: int, created_at: datetime) -> Iterator[ProductEvent]:
        """The SKU's events, from the latest back to this one, which was decided then; none twice."""
