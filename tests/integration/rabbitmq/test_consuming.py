import os
import signal
import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from allocation_contracts.names import ORDERS_QUEUE, STOCK_QUEUE
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.consumer import Consumer
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.service_layer.outcomes import Done, Outcome, Retry
from tests.integration.rabbitmq.rig import Place, Workers, eventually, unique, working


class Gate:
    """A decision that waits until it may be taken."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, _delivery: Delivery) -> Outcome:
        self.reached.set()
        assert self.open.wait(20)
        return Done()


def test_what_has_been_delivered_is_taken_together_and_acked(place: Place) -> None:
    ids = unique(300)
    place.send(*ids)
    with working(place) as workers:
        eventually(lambda: set(workers.ids) == set(ids))
    assert len(workers.groups) < 100
    assert not any(delivery.failures for delivery in workers.deliveries)
    assert max(map(len, workers.groups)) <= workers.limit
    assert place.depth(ORDERS_QUEUE) == 0


def test_nothing_is_waited_for(place: Place) -> None:
    with working(place) as workers:
        for id_ in unique(5):
            place.send(id_)
            eventually(lambda: workers.ids[-1:] == [id_], within=2)  # noqa: B023 - called before the next turn
    assert [len(group) for group in workers.groups] == [1] * 5


def test_queues_are_consumed_side_by_side(place: Place) -> None:
    with working(place, queues=[ORDERS_QUEUE, STOCK_QUEUE]) as workers:
        place.send("order")
        place.send("batch", key="create-batch")
        eventually(lambda: set(workers.ids) == {"order", "batch"})
    assert {delivery.queue for delivery in workers.deliveries} == {ORDERS_QUEUE, STOCK_QUEUE}


def give_back(place: Place, count: int, times: int = 1) -> None:
    """Take so many and lose the channel."""
    for _ in range(times):
        channel = place.new_channel()
        eventually(lambda: place.depth(ORDERS_QUEUE) == count)
        for _ in range(count):
            channel.basic_get(ORDERS_QUEUE)
        channel.close()
    eventually(lambda: place.depth(ORDERS_QUEUE) == count)


def test_messages_that_have_come_back_are_taken_in_parts(place: Place) -> None:
    returned = unique(200)
    place.send(*returned)
    give_back(place, 200)
    new = unique(200)
    place.send(*new)
    with working(place, prefetch=100) as workers:
        eventually(lambda: len(set(workers.ids)) == 400)
    assert sorted(map(str, workers.ids)) == sorted([*returned, *new])
    in_parts = [len(group) for group in workers.groups if group[0].failures]
    assert len(in_parts) < 40
    assert max(in_parts) <= 51  # half of the prefetch, and the first, which has told how often they have failed
    assert place.depth(ORDERS_QUEUE) == 0


def test_those_that_have_come_back_often_are_taken_alone_and_none_is_returned_for_it(place: Place) -> None:
    returned = unique(20)
    place.send(*returned)
    give_back(place, 20, times=4)
    new = unique(20)
    place.send(*new)
    with working(place, prefetch=64) as workers:
        eventually(lambda: len(set(workers.ids)) == 40)
    assert sorted(map(str, workers.ids)) == sorted([*returned, *new])
    assert [delivery.failures for delivery in workers.deliveries] == [4] * 20 + [0] * 20
    assert [len(group) for group in workers.groups][:20] == [1] * 20


@pytest.mark.parametrize("times", [0, 1, 2, 3, 4])
def test_another_prefetch_spends_no_delivery_while_messages_stream_in(place: Place, times: int) -> None:
    """pika returns what is on its way to a consumer that is cancelled."""
    returned = unique(300)
    place.send(*returned)
    give_back(place, 300, times=times)
    with working(place, prefetch=100) as workers:
        new = unique(2_000)
        place.send(*new)
        eventually(lambda: len(set(workers.ids)) == 2_300, within=30)
    assert [delivery.failures for delivery in workers.deliveries] == [times] * 300 + [0] * 2_000


@pytest.mark.parametrize(("prefetch", "left"), [(1, 9), (4, 5)])
def test_at_most_the_prefetch_is_in_hand_besides_the_first_that_came_alone(
    place: Place, prefetch: int, left: int
) -> None:
    gate = Gate()
    place.send(*unique(10))
    with working(place, gate, prefetch=prefetch) as workers:
        eventually(lambda: place.depth(ORDERS_QUEUE) == left)
        threading.Event().wait(0.3)
        assert place.depth(ORDERS_QUEUE) == left
        gate.open.set()
        eventually(lambda: len(workers.ids) == 10)
    assert max(map(len, workers.groups)) <= prefetch + 1


def test_stopping_finishes_the_group_and_gives_back_the_rest(place: Place) -> None:
    gate = Gate()
    ids = unique(20)
    place.send(*ids)
    workers = Workers([place.url], [ORDERS_QUEUE], gate)
    workers.limit = 5
    workers.start()
    assert gate.reached.wait(60)
    workers.consumer.stop()
    eventually(lambda: workers.buffer._closed)
    gate.open.set()
    workers.join()
    eventually(lambda: place.depth(ORDERS_QUEUE) == 20 - len(workers.ids))
    rest = [properties.message_id for properties, _ in place.take_all(ORDERS_QUEUE)]
    assert len(workers.ids) <= 5
    assert [*workers.ids, *rest] == ids


def test_a_worker_that_does_not_finish_is_not_waited_for_longer_than_the_grace(place: Place) -> None:
    gate = Gate()
    workers = Workers([place.url], [ORDERS_QUEUE], gate, grace=0.2)
    workers.start()
    place.send("slow")
    assert gate.reached.wait(60)
    with capture_logs() as logs:
        workers.consumer.stop()
        eventually(lambda: workers.ended)  # or the ack might still go out
    assert "stopped_too_late" in {entry["event"] for entry in logs}
    gate.open.set()
    workers.join()
    eventually(lambda: place.depth(ORDERS_QUEUE) == 1)


def test_a_signal_handler_may_stop_it() -> None:
    consumer = Consumer(["amqp://127.0.0.1:1/"], [], prefetch=1, grace=1.0)
    previous = signal.signal(signal.SIGUSR1, lambda *_: consumer.stop())
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        consumer.run(lambda _deliveries: None)
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_what_a_worker_dies_of_is_raised_and_its_messages_go_back(place: Place) -> None:
    def die(_delivery: Delivery) -> Outcome:
        raise ZeroDivisionError

    workers = Workers([place.url], [ORDERS_QUEUE, STOCK_QUEUE], die)
    workers.start()
    place.send("fatal")
    workers.join()
    assert isinstance(workers.error, ZeroDivisionError)
    eventually(lambda: place.depth(ORDERS_QUEUE) == 1)


def test_the_single_active_consumer_hands_over_without_reordering(place: Place) -> None:
    gate = Gate()
    ids = unique(300)
    first = Workers([place.url], [STOCK_QUEUE], gate, prefetch=50)
    first.limit = 10
    place.send(*ids, key="create-batch")
    first.start()
    eventually(lambda: place.depth(STOCK_QUEUE) == 250)
    assert gate.reached.wait(60)
    with working(place, queues=[STOCK_QUEUE], prefetch=50) as second:
        eventually(lambda: second.consuming)
        first.consumer.stop()
        eventually(lambda: first.buffer._closed)
        gate.open.set()
        first.join()
        eventually(lambda: {*first.ids, *second.ids} == set(ids))
    assert len(first.ids) <= 10
    assert list(dict.fromkeys([*first.ids, *second.ids])) == ids


def test_a_connection_closed_by_force_loses_nothing(place: Place, close_connections: Callable[[], None]) -> None:
    ids = unique(2000)
    with working(place) as workers:
        place.send(*ids[:1000])
        close_connections()
        place.send(*ids[1000:])
        eventually(lambda: set(workers.ids) == set(ids))
        eventually(lambda: place.depth(ORDERS_QUEUE) == 0)
    assert place.take_all(ORDERS_QUEUE) == []


def test_acks_of_a_connection_that_is_gone_are_skipped(place: Place, close_connections: Callable[[], None]) -> None:
    gate = Gate()
    place.send("once more")
    with working(place, gate) as workers:
        assert gate.reached.wait(60)
        close_connections()
        gate.open.set()
        eventually(lambda: workers.ids == ["once more"] * 2)
    assert [delivery.generation for delivery in workers.deliveries] == sorted(
        {delivery.generation for delivery in workers.deliveries}
    )
    assert place.depth(ORDERS_QUEUE) == 0


def test_while_held_a_new_connection_does_not_consume(place: Place, close_connections: Callable[[], None]) -> None:
    with working(place) as workers, capture_logs() as logs:
        place.send("before")
        eventually(lambda: workers.ids)
        workers.buffer.hold()
        close_connections()
        eventually(lambda: any(entry["event"] == "consuming_held" for entry in logs))
        place.send("after")
        assert place.depth(ORDERS_QUEUE) == 1
        workers.buffer.release()
        eventually(lambda: "after" in workers.ids)


def test_while_held_messages_stay_in_hand_and_unacked(place: Place) -> None:
    gate = Gate()
    place.send("in hand")
    with working(place, gate) as workers:
        assert gate.reached.wait(60)
        workers.buffer.hold()
        assert place.depth(ORDERS_QUEUE) == 0
        workers.buffer.release()
        gate.open.set()
    assert workers.ids == ["in hand"]


def test_a_queue_that_is_deleted_is_consumed_again_once_it_is_declared_again(place: Place) -> None:
    with working(place) as workers, capture_logs() as logs:
        place.send("before")
        eventually(lambda: workers.ids == ["before"])
        place.channel.queue_delete(ORDERS_QUEUE)
        # The broker cancels the consumer, or closes its channel or its connection, if it is about to consume again.
        refused = "consuming_refused"
        eventually(lambda: any(entry["event"] == refused for entry in logs))
        topology.declare([place.url], retry_delays=[1])
        place.send("after")
        eventually(lambda: workers.ids == ["before", "after"])
    remedies = {entry["remedy"] for entry in logs if entry["event"] == refused}
    assert remedies == {"run `allocation-worker topology`."}
    assert {entry["log_level"] for entry in logs if entry["event"] == "consumer_cancelled"} <= {"error"}


def test_stopping_works_while_there_is_no_broker() -> None:
    workers = Workers(
        ["amqp://u:secret@127.0.0.1:1/", "amqp://u:secret@127.0.0.1:2/"], [ORDERS_QUEUE], lambda _: Done()
    )
    with capture_logs() as logs:
        workers.start()
        eventually(lambda: len({entry.get("broker") for entry in logs if entry["event"] == "amqp_connect_failed"}) == 2)
        workers.stop()
    assert workers.error is None
    assert "secret" not in str(logs)


def test_an_alarm_however_long_spends_no_delivery_of_what_is_in_hand(
    place: Place, request: pytest.FixtureRequest
) -> None:
    """It has published a copy, so it is blocked; the broker reads no ack either, and takes all of them in the end."""
    gate = Gate()

    def refuse(delivery: Delivery) -> Outcome:
        gate(delivery)
        return Retry(after=1, attempts=1) if delivery.properties.message_id == "refused" else Done()

    place.send("refused", *(ids := unique(20)))
    with working(place, refuse) as workers, capture_logs() as logs:
        assert gate.reached.wait(60)
        lift = request.getfixturevalue("alarm")
        gate.open.set()
        eventually(lambda: any(entry["event"] == "amqp_blocked" for entry in logs))
        eventually(lambda: set(workers.ids) >= {"refused", *ids})
        threading.Event().wait(1.5)
        assert not any(entry["event"] == "amqp_lost" for entry in logs)
        lift()
        eventually(lambda: workers.ids.count("refused") > 1, within=30)
    assert place.depth(ORDERS_QUEUE) == 0
    assert [delivery for delivery in workers.deliveries if delivery.failures] == []
