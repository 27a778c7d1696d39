"""Publishing dead letters as commands again."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from operator import attrgetter

from allocation_contracts.amqp.link import LinkFactory
from allocation_contracts.amqp.urls import parse
from allocation_contracts.names import REDRIVING_EXCHANGE
from allocation_worker.adapters.rabbitmq.copies import redriven_copy
from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.link import worker_link
from allocation_worker.adapters.rabbitmq.publisher import Publication
from allocation_worker.adapters.rabbitmq.topology import check_exchange
from allocation_worker.adapters.rabbitmq.until_confirmed import (
    BlockingPublisher,
    NotConfirmedError,
    publish_until_confirmed,
)
from allocation_worker.service_layer.wording import counted

# Less than it takes the broker to miss heartbeats on the connection that holds the dead letters: nothing is read there
# meanwhile.
_PATIENCE = 30.0
_NAME = "allocation-worker redrive"


def publish_copies(
    urls: Sequence[str], letters: Iterable[HeldDeadLetter], *, link: LinkFactory = worker_link
) -> Iterator[tuple[HeldDeadLetter, bool]]:
    """Publish copies of dead letters that have a destination, in their order, each until it is confirmed.

    The order matters to the commands of the stock queue.

    Args:
        urls: AMQP addresses, tried in turn.
        letters: In their order; taken as there is room.
        link: Makes the connection.

    Yields:
        Each dead letter with True if the broker keeps its copy safe, or False if there is no queue for it.

    Raises:
        TopologyMissingError: The exchange for it does not exist.
        BrokerError: The broker confirmed nothing for too long.
    """
    check_exchange(urls, REDRIVING_EXCHANGE)
    frame_max = min(parse(url).parameters(_NAME).frame_max for url in urls)
    convert = partial(_publication, frame_max=frame_max)
    with BlockingPublisher[HeldDeadLetter](urls, convert, name=_NAME, link=link) as publisher:
        try:
            yield from publish_until_confirmed(publisher, letters, key=attrgetter("tag"), patience=_PATIENCE)
        except NotConfirmedError as error:
            copies = counted(error.count, "copy", "copies")
            raise BrokerError(
                f"The broker has not confirmed {copies} for {_PATIENCE:g} s. The dead letters stay; if a copy did "
                "arrive, its message_id makes the next one harmless."
            ) from error


def _publication(letter: HeldDeadLetter, *, frame_max: int) -> Publication:
    if letter.destination is None:
        raise ValueError(f"The dead letter {letter.id} has no destination.")
    return Publication(
        id=letter.tag,
        exchange=REDRIVING_EXCHANGE,
        routing_key=letter.destination,
        body=letter.body,
        properties=redriven_copy(letter.properties, frame_max),
    )
