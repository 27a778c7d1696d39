"""Announcing events again, to one queue that someone names."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from threading import Event
from time import monotonic
from typing import NoReturn

from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.publisher import ConfirmedPublisher, Publication, event_properties
from allocation_worker.service_layer.outgoing import OutgoingEvent

AT_A_TIME = 500
PATIENCE = 60.0
_LOOK_EVERY = 0.5


def publish_to_queue(urls: Sequence[str], queue: str, events: Iterable[OutgoingEvent]) -> int:
    """Publish these to the queue, in their order, each until it is confirmed; how many there were.

    What a lost connection leaves open is published again, with all that followed it: the queue may get repeats, never
    another order.

    Raises:
        BrokerError: there is no such queue, or the broker confirmed nothing for a minute.
    """
    news = Event()

    def convert(event: OutgoingEvent) -> Publication:
        return Publication(
            id=event.id, exchange="", routing_key=queue, body=event.body, properties=event_properties(event)
        )

    count = 0
    with ConfirmedPublisher[OutgoingEvent](urls, convert, news.set, name="allocation-worker replay") as publisher:
        for chunk in _chunks(events):
            _publish(publisher, news, chunk, queue)
            count += len(chunk)
    return count


def _publish(publisher: ConfirmedPublisher[OutgoingEvent], news: Event, chunk: list[OutgoingEvent], queue: str) -> None:
    waiting = chunk
    deadline = monotonic() + PATIENCE
    while waiting:
        confirmed = _settled(publisher, news, waiting, queue) if publisher.connected else set[int]()
        if confirmed:
            deadline = monotonic() + PATIENCE
        first = next((index for index, event in enumerate(waiting) if event.id not in confirmed), len(waiting))
        waiting = waiting[first:]
        if waiting:
            if monotonic() > deadline:
                _give_up(queue, len(waiting))
            news.wait(_LOOK_EVERY)
            news.clear()


def _settled(
    publisher: ConfirmedPublisher[OutgoingEvent], news: Event, waiting: Sequence[OutgoingEvent], queue: str
) -> set[int]:
    """Publish these once; the ids of those that were confirmed."""
    publisher.publish(waiting)
    confirmed: set[int] = set()
    left = len(waiting)
    deadline = monotonic() + PATIENCE
    while left:
        for each in publisher.take_results():
            left -= 1
            if each.result is PublishResult.RETURNED:
                raise BrokerError(f"There is no queue {queue} on the broker; declare it, then replay again.")
            if each.result is PublishResult.CONFIRMED:
                confirmed.add(each.id)
        if left:
            if monotonic() > deadline:
                _give_up(queue, left)
            news.wait(_LOOK_EVERY)
            news.clear()
    return confirmed


def _give_up(queue: str, count: int) -> NoReturn:
    raise BrokerError(
        f"{count} events for the queue {queue} were not confirmed within {PATIENCE:g} s, though it may have them; "
        "replay again."
    )


def _chunks(events: Iterable[OutgoingEvent]) -> Iterator[list[OutgoingEvent]]:
    iterator = iter(events)
    while chunk := list(islice(iterator, AT_A_TIME)):
        yield chunk
