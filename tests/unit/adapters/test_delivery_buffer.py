"""How many deliveries the worker thread takes at a time."""

from threading import Condition

from pika.spec import BasicProperties

from allocation_worker.adapters.rabbitmq.deliveries import DeliveryBuffer
from allocation_worker.adapters.rabbitmq.delivery import Delivery, delivery_failures


def holding(*failures: int) -> DeliveryBuffer:
    """A buffer with deliveries that have failed so often."""
    buffer = DeliveryBuffer("q", on_results=lambda _: None, on_release=lambda: None, condition=Condition())
    for tag, count in enumerate(failures, 1):
        buffer.put(
            Delivery(
                tag=tag,
                queue="q",
                generation=1,
                body=b"",
                failures=count,
                routing_key="allocate",
                exchange="allocation.commands",
                properties=BasicProperties(),
            )
        )
    return buffer


def sizes(buffer: DeliveryBuffer, limit: int, count: int) -> list[int]:
    return [len(buffer.take(limit) or []) for _ in range(count)]


def test_new_ones_are_taken_together() -> None:
    assert sizes(holding(*[0] * 150), 100, 2) == [100, 50]


def test_those_that_have_failed_are_taken_in_smaller_groups() -> None:
    assert sizes(holding(*[1] * 150), 100, 3) == [50, 50, 50]
    assert sizes(holding(*[2] * 25), 100, 3) == [12, 12, 1]
    assert sizes(holding(*[4] * 3), 100, 3) == [1, 1, 1]


def test_a_group_is_as_small_as_the_one_that_has_failed_most_often_demands() -> None:
    assert sizes(holding(*[0] * 10, *[2] * 3, *[0] * 20), 100, 3) == [12, 12, 9]
    assert sizes(holding(*[0] * 10, 4, *[0] * 20), 100, 3) == [10, 1, 20]


def test_how_often_it_has_failed_is_what_the_broker_counts() -> None:
    counted = BasicProperties(headers={"x-delivery-count": 3})
    assert delivery_failures(counted, redelivered=True) == 3
    assert delivery_failures(BasicProperties(), redelivered=True) == 1
    assert delivery_failures(BasicProperties(headers={"x-delivery-count": 9}), redelivered=False) == 0
