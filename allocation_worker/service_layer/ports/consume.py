"""What `consume` and `project` need: the deliveries of a queue, and what processes their messages."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from allocation_contracts import AmqpProperties
from allocation_worker.service_layer.outcomes import Outcome


class Delivered(Protocol):
    """A delivery, as far as the log needs it."""

    @property
    def properties(self) -> AmqpProperties: ...


D = TypeVar("D", bound=Delivered)
M_contra = TypeVar("M_contra", contravariant=True)


class Processor(Protocol[M_contra]):
    """Turns messages into outcomes."""

    def process(self, messages: Sequence[M_contra]) -> Sequence[Outcome]:
        """The outcome of each, in their order; asking again is harmless.

        Raises:
            StoreUnavailableError, StoreContentionError: ask again later.
        """


class Deliveries(Protocol[D]):
    """The deliveries of one queue. Thread-safe."""

    @property
    def queue(self) -> str: ...

    def take(self, limit: int) -> list[D]:
        """Wait for deliveries, and return `limit` of them at most; [] once there are no more.

        Those of which deliveries have failed come in smaller groups: one of them may have ended the last process.
        """

    def ack(self, results: Sequence[tuple[D, Outcome]]) -> None:
        """Ack deliveries soon; one that is retried or dead-lettered is acked once its copy is confirmed."""

    def hold(self) -> None:
        """Do not consume the queue again after a lost connection, until `release`."""

    def release(self) -> None:
        """Undo `hold`."""
