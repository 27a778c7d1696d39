"""What `consume` and `project` need: the deliveries of a queue, and what processes their messages."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from allocation_contracts import AmqpProperties
from allocation_worker.service_layer.outcomes import LockedProduct, Outcome


class Delivered(Protocol):
    """A delivery, as far as the worker needs it."""

    @property
    def properties(self) -> AmqpProperties: ...

    @property
    def generation(self) -> int:
        """The number of the channel that it came by."""


D = TypeVar("D", bound=Delivered)
M_contra = TypeVar("M_contra", contravariant=True)


class Processor(Protocol[M_contra]):
    """Turns messages into outcomes."""

    def process(
        self,
        messages: Sequence[M_contra],
        behind: Sequence[tuple[M_contra, LockedProduct]],
        again: Mapping[str, str],
    ) -> Sequence[Outcome]:
        """The outcome of each, in their order; asking again is harmless.

        Args:
            messages: The messages.
            behind: Messages that are set aside, and that these must not overtake, with what each waits for.
            again: The locks, by SKU, that these messages were waiting for when they were set aside; none if they are
                new.

        Raises:
            StoreUnavailableError, StoreContentionError: ask again later.
        """


class Deliveries(Protocol[D]):
    """The deliveries of one queue. Thread-safe."""

    @property
    def queue(self) -> str: ...

    def take(self, limit: int, within: float | None = None) -> list[D] | None:
        """Wait for deliveries, and return `limit` of them at most; [] once there are no more.

        None if there are none for `within` seconds.

        Those of which deliveries have failed come in smaller groups: one of them may have ended the last process.
        """

    def ack(self, results: Sequence[tuple[D, Outcome]]) -> None:
        """Ack deliveries soon; one that is retried or dead-lettered is acked once its copy is confirmed.

        One that is set aside is not acked, and those after it are acked without it.
        """

    def hold(self) -> None:
        """Do not consume the queue again after a lost connection, until `release`."""

    def release(self) -> None:
        """Undo `hold`."""
