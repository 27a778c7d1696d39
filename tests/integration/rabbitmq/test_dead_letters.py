"""Reading the dead letters on a real broker."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pika
import pytest

from allocation_contracts.names import DEAD_LETTERS, ORDERS_QUEUE
from allocation_worker.adapters.rabbitmq import dead_letter_queue
from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.adapters.rabbitmq.dead_letter_publisher import publish_copies
from allocation_worker.adapters.rabbitmq.dead_letter_queue import DeadLetterQueue, open_dead_letters
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.service_layer.dead_letters import Redrive, Selection
from allocation_worker.service_layer.outcomes import DeadLettered, Outcome
from tests.integration.rabbitmq.rig import Place, eventually, headers_of, unique, working
from tests.raw_headers import TOO_LATE, RawHeader, allow, nested


@contextmanager
def looking(place: Place) -> Iterator[DeadLetterQueue]:
    with open_dead_letters([place.url], lambda _seen, _total: None) as letters:
        yield letters


def ids_of(place: Place) -> list[object]:
    with looking(place) as letters:
        return [letter.properties.message_id for letter in letters]


def redrive_all(place: Place, letters: DeadLetterQueue) -> Iterator[tuple[HeldDeadLetter, str | None]]:
    return Redrive(letters, partial(publish_copies, [place.url]), lambda _letter: None).run(Selection(everything=True))


def only(place: Place) -> HeldDeadLetter:
    with looking(place) as letters:
        [letter] = list(letters)
    return letter


def bury(place: Place, *ids: str, **properties: Any) -> None:
    """Have these in the dead letters, as the alternate exchange would bring them."""
    place.send(*ids, key="nobody-is-bound-for-this", **properties)
    eventually(lambda: place.depth(DEAD_LETTERS) >= len(ids))


def test_a_look_leaves_all_in_its_order(place: Place) -> None:
    ids = unique(200)
    bury(place, *ids)
    assert ids_of(place) == ids
    assert ids_of(place) == ids
    bury(place, "one-more")
    assert ids_of(place) == [*ids, "one-more"]


def test_more_than_one_consumer_can_hold_are_looked_through_in_order(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_queue, "_LARGEST_PREFETCH", 7)
    ids = unique(100)
    bury(place, *ids)
    assert ids_of(place) == ids
    assert ids_of(place) == ids


def test_what_is_removed_is_gone_and_the_rest_keeps_its_order(place: Place) -> None:
    ids = unique(400)
    bury(place, *ids)
    with looking(place) as letters:
        for letter in list(letters)[1::2]:  # a swarm of acks, right before the end
            letters.remove(letter)
    assert ids_of(place) == ids[::2]


def test_an_interrupted_look_loses_nothing(place: Place) -> None:
    ids = unique(100)
    bury(place, *ids)

    def remove_one_and_stop() -> None:
        with looking(place) as letters:
            for number, letter in enumerate(letters):
                if number == 10:
                    letters.remove(letter)
                if number == 50:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove_one_and_stop()
    assert sorted(map(str, ids_of(place))) == ids[:10] + ids[11:]


def test_a_look_while_another_is_under_way_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_queue, "_PATIENCE", 0.3)
    bury(place, *unique(3))
    with looking(place) as letters:
        letters.take()
        with pytest.raises(BrokerError, match="Another program is reading"):
            ids_of(place)
    assert len(ids_of(place)) == 3


def test_the_id_is_the_same_at_each_look_and_shared_by_those_that_do_not_differ(place: Place) -> None:
    bury(place, "same", "same", "other")
    with looking(place) as letters:
        first = [letter.id for letter in letters]
    with looking(place) as letters:
        assert [letter.id for letter in letters] == first
    assert len(first) == 3
    assert len(set(first)) == 2


def test_an_unroutable_one_says_so(place: Place) -> None:
    bury(place, "lost", type="allocate.v1")
    letter = only(place)
    assert (letter.reason, letter.queue, letter.failed_at) == ("unroutable", None, None)
    assert "nobody-is-bound-for-this" in letter.detail
    assert letter.destination == ORDERS_QUEUE


def test_one_that_no_queue_is_for_has_no_destination(place: Place) -> None:
    bury(place, "lost", type="order.v9")
    assert only(place).destination is None


def test_one_that_the_broker_gave_up_says_so(place: Place) -> None:
    place.send("doomed")
    channel = pika.BlockingConnection(pika.URLParameters(place.url)).channel()
    for method, _, _ in channel.consume(ORDERS_QUEUE, inactivity_timeout=1):
        if method is None:
            break
        channel.basic_reject(method.delivery_tag or 0, requeue=True)
    channel.connection.close()
    eventually(lambda: place.depth(DEAD_LETTERS) == 1)
    letter = only(place)
    assert (letter.reason, letter.queue) == ("delivery-limit", ORDERS_QUEUE)
    assert letter.failed_at is not None
    assert letter.destination == ORDERS_QUEUE


def test_one_that_expired_says_so(place: Place) -> None:
    place.send("late", expiration="1")
    eventually(lambda: place.depth(DEAD_LETTERS) == 1)
    letter = only(place)
    assert (letter.reason, letter.queue, letter.destination) == ("expired", ORDERS_QUEUE, ORDERS_QUEUE)


def test_a_redriven_copy_is_the_command_that_it_was(place: Place) -> None:
    def refuse(_delivery: Delivery) -> Outcome:
        return DeadLettered(reason="handler-failed", detail="It failed.", attempts=4, exception="ValueError: no")

    with working(place, refuse):
        place.send("a-1", headers={"traceparent": "00-1", "x-mine": 7}, type="allocate.v1", correlation_id="c")
        eventually(lambda: place.depth(DEAD_LETTERS) == 1)
    with looking(place) as letters:
        [letter] = list(letters)
        assert (letter.reason, letter.detail, letter.failed_attempts) == ("handler-failed", "It failed.", 4)
        assert list(publish_copies([place.url], [letter])) == [(letter, True)]
        letters.remove(letter)
    assert place.depth(DEAD_LETTERS) == 0
    [(properties, body)] = place.take_all(ORDERS_QUEUE)
    assert headers_of(properties) == {"traceparent": "00-1", "x-mine": 7}
    assert (properties.message_id, properties.type, properties.correlation_id) == ("a-1", "allocate.v1", "c")
    assert (properties.delivery_mode, body) == (2, b"body of a-1")


@pytest.mark.parametrize("poison", [nested(600), TOO_LATE], ids=["nested", "timestamp"])
def test_headers_that_kill_a_connection_do_not_hide_the_others(
    place: Place, poison: RawHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch)
    before, after = unique(5), unique(5)
    bury(place, *before)
    bury(place, "culprit", headers={"h": poison}, type="allocate.v1", content_type="application/json")
    bury(place, *after)
    assert ids_of(place) == [*before, "culprit", *after]
    with looking(place) as letters:
        [letter] = [letter for letter in letters if letter.properties.message_id == "culprit"]
        assert letter.reason == "undecodable-headers"
        assert (letter.properties.type, letter.body) == ("allocate.v1", b"body of culprit")
        assert letter.undecodable is not None
        assert poison.value in letter.undecodable
        assert list(publish_copies([place.url], [letter])) == [(letter, True)]
        letters.remove(letter)
    [(properties, body)] = place.take_all(ORDERS_QUEUE)
    assert (properties.message_id, headers_of(properties), body) == ("culprit", {}, b"body of culprit")
    assert ids_of(place) == [*before, *after]


def test_many_are_redriven_in_their_order_and_none_stays(place: Place) -> None:
    ids = unique(600)
    bury(place, *ids, type="allocate.v1")
    with looking(place) as letters:
        redriven = [
            letter.properties.message_id
            for letter, objection in Redrive(letters, partial(publish_copies, [place.url]), lambda _letter: None).run(
                Selection(everything=True)
            )
            if objection is None
        ]
    assert sorted(map(str, redriven)) == ids
    assert place.depth(DEAD_LETTERS) == 0
    assert [properties.message_id for properties, _ in place.take_all(ORDERS_QUEUE)] == ids


def test_one_whose_queue_is_gone_stays(place: Place) -> None:
    def refuse(_delivery: Delivery) -> Outcome:
        return DeadLettered(reason="handler-failed", detail="It failed.")

    with working(place, refuse):
        place.send("homeless")
        eventually(lambda: place.depth(DEAD_LETTERS) == 1)
    place.channel.queue_delete(ORDERS_QUEUE)
    with looking(place) as letters:
        [(_, objection)] = Redrive(letters, partial(publish_copies, [place.url]), lambda _letter: None).run(
            Selection(everything=True)
        )
    assert objection is not None
    assert "its queue is not there" in objection
    assert ids_of(place) == ["homeless"]
