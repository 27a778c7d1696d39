"""Only the retry count of the worker's own copies counts."""

from typing import Any

import pytest
from pika.spec import BasicProperties

from allocation_contracts import COMMANDS_EXCHANGE, ORDERS_QUEUE, STOCK_QUEUE
from allocation_contracts.names import RETRYING_EXCHANGE
from allocation_worker.adapters.rabbitmq.delivery import Delivery, failed_attempts
from allocation_worker.adapters.rabbitmq.retry_queues import old_retry_queue, retry_queue


def delivery(exchange: str = RETRYING_EXCHANGE, **headers: Any) -> Delivery:
    return Delivery(
        tag=1,
        queue=ORDERS_QUEUE,
        generation=1,
        body=b"{}",
        failures=0,
        routing_key=ORDERS_QUEUE,
        exchange=exchange,
        properties=BasicProperties(headers={name.replace("_", "-"): value for name, value in headers.items()}),
    )


def test_what_comes_back_from_a_retry_queue_has_failed_as_often_as_it_says() -> None:
    assert delivery(x_attempts=2, x_first_death_queue=retry_queue(ORDERS_QUEUE, 5)).attempts == 2


def test_what_comes_back_from_a_retry_queue_of_version_0_1_0_does_too() -> None:
    assert delivery("", x_attempts=2, x_first_death_queue=old_retry_queue(ORDERS_QUEUE, 5)).attempts == 2


@pytest.mark.parametrize(
    "sent",
    [
        delivery(COMMANDS_EXCHANGE, x_attempts=99),
        delivery(COMMANDS_EXCHANGE, x_attempts=99, x_first_death_queue=retry_queue(ORDERS_QUEUE, 5)),
        delivery(x_attempts=99),
        delivery(x_attempts=99, x_first_death_queue=retry_queue(STOCK_QUEUE, 5)),
        delivery(x_attempts=99, x_first_death_queue=7),
    ],
)
def test_what_a_sender_says_about_attempts_is_ignored(sent: Delivery) -> None:
    assert (sent.retried, sent.attempts) == (False, 0)


def test_a_copy_of_ours_says_how_many_attempts_have_failed() -> None:
    assert failed_attempts(BasicProperties(headers={"x-attempts": 2})) == 2


def test_a_first_delivery_has_none() -> None:
    assert failed_attempts(BasicProperties()) == 0


@pytest.mark.parametrize("attempts", [True, -1, 1_001, 2**63, 1.0, "1", None, [1]])
def test_what_is_no_such_count_is_ignored(attempts: Any) -> None:
    assert failed_attempts(BasicProperties(headers={"x-attempts": attempts})) == 0
