"""What `dead-letters` needs: the dead letters, each on hold."""

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol, TypeVar

from allocation_contracts import AllocationError


class ArchiveError(AllocationError):
    """The file for the dead letters that are discarded cannot be written; those not yet written are kept."""


class Letter(Protocol):
    """A dead letter, on hold."""

    id: str
    reason: str
    detail: str
    exception: str | None
    message_id: str | None
    failed_at: datetime | None
    known_since: float | None

    @property
    def destination(self) -> object: ...


L = TypeVar("L", bound=Letter)


class Letters(Protocol[L]):
    """Dead letters, each on hold until it is removed or all are given back."""

    def __iter__(self) -> Iterator[L]: ...

    def remove(self, letter: L) -> None:
        """Delete this dead letter."""
