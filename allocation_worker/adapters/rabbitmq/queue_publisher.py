"""Publishing events again, to one queue."""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from allocation_contracts.names import REPLAYING_EXCHANGE
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.publisher import Publication, event_properties
from allocation_worker.adapters.rabbitmq.topology import bind_for_replay, queue_missing
from allocation_worker.adapters.rabbitmq.until_confirmed import (
    PATIENCE,
    BlockingPublisher,
    NotConfirmedError,
    publish_until_confirmed,
)
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.wording import counted


def publish_to_queue(
    urls: Sequence[str], queue: str, events: Iterable[OutgoingEvent], *, patience: float = PATIENCE
) -> int:
    """Publish events to the queue, in their order, each until it is confirmed. Return how many there were.

    The queue may get repeats after a lost connection, never another order.

    Args:
        urls: AMQP addresses, tried in turn.
        queue: Its name; `bind_for_replay` has bound it.
        events: In their order.
        patience: For how many seconds to go on without a confirm.

    Raises:
        TopologyMissingError: There is no such queue.
        BrokerError: The broker confirmed nothing for too long.
    """

    def convert(event: OutgoingEvent) -> Publication:
        return Publication(
            id=event.id,
            exchange=REPLAYING_EXCHANGE,
            routing_key=queue,
            body=event.body,
            properties=event_properties(event),
        )

    count = 0
    with BlockingPublisher[OutgoingEvent](urls, convert, name="allocation-worker replay") as publisher:
        try:
            for _, safe in publish_until_confirmed(publisher, events, key=attrgetter("id"), patience=patience):
                if not safe:
                    raise queue_missing(queue)
                count += 1
        except NotConfirmedError as error:
            # The broker may never confirm what was on its way to a quorum queue as that was deleted.
            bind_for_replay(urls, queue)
            events_were = counted(error.count, "event was", "events were")
            raise BrokerError(
                f"{events_were} not confirmed for the queue {queue} within {patience:g} s, and may have arrived all "
                "the same; replay again."
            ) from error
    return count
