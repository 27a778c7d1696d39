"""Publishing dead letters as commands again, many at a time, each until it is confirmed."""

from collections.abc import Sequence
from threading import Condition
from time import monotonic

from allocation_contracts.amqp.link import LinkFactory
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.copies import redriven_copy
from allocation_worker.adapters.rabbitmq.dead_letter import DeadLetter
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.link import worker_link
from allocation_worker.adapters.rabbitmq.publisher import ConfirmedPublisher, Publication

_LOOK_EVERY = 0.2
_PATIENCE = 30.0


class DeadLetterPublisher:
    """Pipelines copies of dead letters, in their order; one that is lost or refused is published again.

    What is lost holds up all that comes after it, so that the copies stand in their queue in the order of the letters:
    the stock queue's commands depend on it. Only one that the broker refused comes behind others.

    Args:
        urls: AMQP addresses, tried in turn.
        link: Makes the connection.
    """

    def __init__(self, urls: Sequence[str], *, link: LinkFactory = worker_link) -> None:
        self._waiting: dict[int, DeadLetter] = {}
        self._again: list[DeadLetter] = []
        self._changed = Condition()
        self._publisher = ConfirmedPublisher[DeadLetter](
            urls, _publication, self._wake, name="allocation-worker redrive", link=link
        )

    @property
    def under_way(self) -> int:
        """How many were published, and have no answer yet."""
        return len(self._waiting)

    def publish(self, letter: DeadLetter) -> None:
        """Publish a copy of a dead letter that has a destination."""
        self._waiting[letter.tag] = letter
        if self._again:
            self._again.append(letter)
        else:
            self._publisher.publish([letter])

    def take_settled(self) -> list[tuple[DeadLetter, bool]]:
        """Wait until some have an answer; each with whether the broker keeps its copy safe: if not, no queue is there.

        Raises:
            BrokerError: no answer came for half a minute.
        """
        deadline = monotonic() + _PATIENCE
        while True:
            settled = self._sort()
            if settled:
                return settled
            # None of them before all are back: some are still on their way back, and would come behind.
            if len(self._again) == len(self._waiting) and self._publisher.connected:
                self._publisher.publish(sorted(self._again, key=lambda letter: letter.tag))
                self._again = []
            with self._changed:
                self._changed.wait(_LOOK_EVERY)
            if monotonic() > deadline:
                raise BrokerError(
                    f"The broker has not confirmed {len(self._waiting)} copies for {_PATIENCE:g} s. Their dead letters "
                    "stay; if a copy did arrive, its message_id makes the next one harmless."
                )

    def close(self) -> None:
        """End; what has no answer may have arrived."""
        self._publisher.close()

    def _sort(self) -> list[tuple[DeadLetter, bool]]:
        settled = []
        for each in self._publisher.take_results():
            if each.result in {PublishResult.CONFIRMED, PublishResult.RETURNED}:
                letter = self._waiting.pop(each.id)
                settled.append((letter, each.result is PublishResult.CONFIRMED))
            else:
                self._again.append(self._waiting[each.id])
        return settled

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
