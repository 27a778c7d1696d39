from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pika.spec import BasicProperties

from allocation_contracts import COMMANDS_EXCHANGE, DEAD_LETTERS, ORDERS_QUEUE, STOCK_QUEUE
from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.adapters.rabbitmq.layout import READ_MODEL_QUEUE

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def letter(headers: dict[str, Any] | None = None, *, exchange: str = DEAD_LETTERS, **properties: Any) -> HeldDeadLetter:
    fields = {"message_id": "m", "type": "allocate.v1"} | properties
    return HeldDeadLetter(
        tag=1,
        exchange=exchange,
        routing_key="somewhere",
        properties=BasicProperties(headers=headers, **fields),
        body=b"{}",
    )


def death(queue: str, reason: str) -> dict[str, Any]:
    return {"x-death": [{"queue": queue, "reason": reason, "time": NOON.replace(tzinfo=None), "count": 1}]}


FORGED = {
    "x-reason": "handler-failed",
    "x-detail": "Pay at once.",
    "x-exception": "Forged: yes",
    "x-attempts": 7,
    "x-original-queue": STOCK_QUEUE,
    "x-failed-at": NOON.isoformat(),
    "x-original-properties": b"forged",
}


def test_a_copy_of_ours_says_itself_why_it_is_there() -> None:
    found = letter(FORGED)
    assert (found.reason, found.detail, found.exception) == ("handler-failed", "Pay at once.", "Forged: yes")
    assert (found.queue, found.failed_attempts, found.failed_at) == (STOCK_QUEUE, 7, NOON)


def test_headers_of_ours_say_nothing_in_a_command_that_no_queue_took() -> None:
    found = letter(FORGED | death(STOCK_QUEUE, "delivery_limit"), exchange=COMMANDS_EXCHANGE)
    assert (found.reason, found.exception, found.queue) == ("unroutable", None, None)
    assert (found.failed_attempts, found.failed_at, found.undecodable) == (None, None, None)
    assert "somewhere" in found.detail


def test_headers_of_ours_say_nothing_in_a_message_that_the_broker_has_moved() -> None:
    found = letter(FORGED | death(ORDERS_QUEUE, "delivery_limit"))
    assert (found.reason, found.exception, found.queue) == ("delivery-limit", None, ORDERS_QUEUE)
    assert (found.failed_attempts, found.undecodable) == (None, None)


def test_a_command_goes_back_to_the_queue_that_it_died_in() -> None:
    assert letter({"x-reason": "r", "x-original-queue": ORDERS_QUEUE}).destination == ORDERS_QUEUE


def test_a_command_that_came_by_the_wrong_queue_goes_where_its_type_belongs() -> None:
    found = letter({"x-reason": "wrong-queue", "x-original-queue": ORDERS_QUEUE}, type="create-batch.v1")
    assert found.destination == STOCK_QUEUE


@pytest.mark.parametrize(
    ("queue", "home"),
    [
        (ORDERS_QUEUE, ORDERS_QUEUE),
        (f"{STOCK_QUEUE}.retry.5s", STOCK_QUEUE),
    ],
)
def test_the_latest_death_tells_reason_queue_and_time(queue: str, home: str) -> None:
    found = letter(death(queue, "delivery_limit"))
    assert (found.reason, found.queue, found.failed_at) == ("delivery-limit", home, NOON)


def test_an_event_that_died_in_the_read_models_queue_is_not_taken_for_an_unroutable_command() -> None:
    found = letter(death(READ_MODEL_QUEUE, "delivery_limit"), type="allocated.v1")
    assert (found.reason, found.queue, found.failed_at) == ("delivery-limit", None, NOON)
    assert READ_MODEL_QUEUE in found.detail
    assert found.destination is None


def test_a_death_in_a_queue_of_other_people_does_not_count() -> None:
    found = letter(death("their.queue", "rejected"))
    assert (found.reason, found.queue, found.failed_at) == ("unroutable", None, None)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-death": "yesterday", "x-failed-at": 7, "x-original-queue": 8},
        {"x-death": [], "x-failed-at": "soon", "x-original-queue": "their.queue"},
        {"x-death": [3], "x-failed-at": None},
        {"x-death": [{"queue": 5}]},
    ],
)
def test_headers_that_make_no_sense_do_no_harm(headers: dict[str, Any]) -> None:
    found = letter(headers)
    assert (found.reason, found.queue, found.failed_at) == ("unroutable", None, None)


def test_how_old_it_is_at_least_follows_from_the_earliest_that_is_known() -> None:
    sent = NOON - timedelta(days=3)
    died = {"x-failed-at": NOON.isoformat()}
    assert letter(died, timestamp=int(sent.timestamp())).known_since == sent.timestamp()
    assert letter(died, timestamp=2**64 - 1).known_since == NOON.timestamp()
    assert letter(died).known_since == NOON.timestamp()
    assert letter().known_since is None


def test_the_id_minds_what_the_message_is_and_not_how_often_it_was_looked_at() -> None:
    died = {"x-reason": "r", "x-failed-at": NOON.isoformat()}
    first = letter(died)
    assert letter(died | {"x-delivery-count": 5}).id == first.id
    assert letter(died, message_id="n").id != first.id
    assert letter(died | {"x-failed-at": (NOON + timedelta(seconds=1)).isoformat()}).id != first.id
    assert letter(message_id=None).id != letter(message_id=b"\xff").id
