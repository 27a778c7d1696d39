"""Publishing dead letters as commands again, many at a time, each until it is confirmed."""

from collections.abc import Sequence
from threading import Condition
from time import monotonic

from allocation_worker.adapters.rabbitmq.copies import redriven_copy
from allocation_worker.adapters.rabbitmq.dead_letter import DeadLetter
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.publisher import Publication, Publisher
from allocation_worker.service_layer.outgoing import SettlementKind

_AGAIN_AFTER = 0.2
_PATIENCE = 30.0


class DeadLetterPublisher:
    """Pipelines copies of dead letters; one that is lost or refused is published again.

    Args:
        urls: AMQP addresses, tried in turn.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._waiting: dict[int, DeadLetter] = {}
        self._changed = Condition()
        self._publisher = Publisher[DeadLetter](urls, _publication, self._wake, name="allocation-worker redrive")

    @property
    def under_way(self) -> int:
        """How many were published, and have no answer yet."""
        return len(self._waiting)

    def publish(self, letter: DeadLetter) -> None:
        """Publish a copy of a dead letter that has a destination."""
        self._waiting[letter.tag] = letter
        self._publisher.publish([letter])

    def take_settled(self) -> list[tuple[DeadLetter, bool]]:
        """Wait until some have an answer; each with whether the broker keeps its copy safe: if not, no queue is there.

        Raises:
            BrokerError: no answer came for half a minute.
        """
        deadline = monotonic() + _PATIENCE
        while True:
            settled, again = self._sort()
            if settled:
                self._publisher.publish(again)
                return settled
            with self._changed:
                self._changed.wait(_AGAIN_AFTER)
            if monotonic() > deadline:
                raise BrokerError(
                    f"The broker has not confirmed {len(self._waiting)} copies for {_PATIENCE:g} s. Their dead letters "
                    "stay; if a copy did arrive, its message_id makes the next one harmless."
                )
            self._publisher.publish(again)

    def close(self) -> None:
        """End; what has no answer may have arrived."""
        self._publisher.close()

    def _sort(self) -> tuple[list[tuple[DeadLetter, bool]], list[DeadLetter]]:
        settled = []
        again = []
        for settlement in self._publisher.take_settlements():
            if settlement.kind in {SettlementKind.CONFIRMED, SettlementKind.RETURNED}:
                letter = self._waiting.pop(settlement.id)
                settled.append((letter, settlement.kind is SettlementKind.CONFIRMED))
            else:
                again.append(self._waiting[settlement.id])
        return settled, again

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()


def _publication(letter: DeadLetter) -> Publication:
    if letter.destination is None:
        raise ValueError(f"The dead letter {letter.id} has no destination.")
    return Publication(
        id=letter.tag,
        exchange=letter.destination.exchange,
        routing_key=letter.destination.routing_key,
        body=letter.body,
        properties=redriven_copy(letter.properties),
    )
