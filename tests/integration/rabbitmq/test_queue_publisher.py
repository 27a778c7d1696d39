"""Publishing events to one queue, over lost connections."""

from collections.abc import Callable, Iterator

import pytest

from allocation_worker.adapters.rabbitmq.errors import BrokerError, TopologyMissingError
from allocation_worker.adapters.rabbitmq.queue_publisher import publish_to_queue
from allocation_worker.adapters.rabbitmq.topology import bind_for_replay, message_counts
from allocation_worker.service_layer.outgoing import OutgoingEvent
from tests.integration.rabbitmq.rig import Place, eventually

QUEUE = "catch-up"


@pytest.fixture
def queue(place: Place) -> str:
    place.channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    bind_for_replay([place.url], QUEUE)
    return QUEUE


def events(count: int) -> Iterator[OutgoingEvent]:
    for number in range(count):
        yield OutgoingEvent(number, None, "allocated", b"{}", f"e{number}", "allocated.v1", "c", "m", None, 1)


def ids(place: Place, count: int) -> list[int]:
    eventually(lambda: place.depth(QUEUE) >= count)
    return [int(str(properties.message_id)[1:]) for properties, _ in place.take_all(QUEUE)]


def test_all_in_order(place: Place, queue: str) -> None:
    assert publish_to_queue([place.url], queue, events(1200)) == 1200
    assert ids(place, 1200) == list(range(1200))


def test_a_lost_connection_costs_repeats_and_no_other_order(
    place: Place, queue: str, close_connections: Callable[[], None]
) -> None:
    def interrupted() -> Iterator[OutgoingEvent]:
        for event in events(1500):
            if event.id in {400, 1100}:
                close_connections()
            yield event

    assert publish_to_queue([place.url], queue, interrupted()) == 1500
    seen = ids(place, 1500)
    highest = -1
    for number in seen:
        assert number <= highest + 1
        highest = max(highest, number)
    assert highest == 1499


def test_a_queue_that_is_deleted_meanwhile_is_told(place: Place, queue: str) -> None:
    def interrupted() -> Iterator[OutgoingEvent]:
        for event in events(1500):
            if event.id == 600:
                place.channel.queue_delete(queue)
            yield event

    with pytest.raises(TopologyMissingError, match="There is no queue catch-up on the broker"):
        publish_to_queue([place.url], queue, interrupted())


def test_a_queue_that_is_gone_is_told_where_no_confirm_came(place: Place, queue: str) -> None:
    place.channel.queue_delete(queue)
    with pytest.raises(TopologyMissingError, match="There is no queue catch-up on the broker"):
        publish_to_queue([place.url], queue, events(1), patience=0.0)


def test_a_queue_that_takes_nothing_is_told(place: Place) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    place.channel.queue_declare(QUEUE, durable=True, arguments=arguments)
    bind_for_replay([place.url], QUEUE)
    with pytest.raises(BrokerError, match=r"events were not confirmed for the queue catch-up within 1 s"):
        publish_to_queue([place.url], QUEUE, events(10), patience=1.0)


def test_whether_a_queue_stands(place: Place, queue: str) -> None:
    bind_for_replay([place.url], queue)
    with pytest.raises(TopologyMissingError, match="There is no queue nowhere on the broker"):
        bind_for_replay([place.url], "nowhere")


def test_what_waits_is_counted_by_queue(place: Place) -> None:
    place.send("a", "b")
    place.send("lost", key="nonsense")
    eventually(lambda: sum(message_counts([place.url], [1]).values()) == 3)
    counts = message_counts([place.url], [1])
    assert (counts["allocation.orders"], counts["allocation.dead-letters"]) == (2, 1)
