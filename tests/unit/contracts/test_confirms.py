"""Each published message gets a result, whatever the broker does."""

from functools import partial
from typing import Any

import pytest
from pika.spec import BasicProperties

from allocation_contracts.amqp.confirms import ConfirmedChannel, Patience
from allocation_contracts.results import PublishResult
from tests.fakes.network import Network

CONFIRMED, RETURNED, NACKED, LOST = PublishResult


class Stage:
    """A channel, what was answered on it, and what was logged."""

    def __init__(self) -> None:
        self.network = Network()
        self.network.is_open = True
        self.answers: list[tuple[str, PublishResult]] = []
        self.closed: list[Exception] = []
        self.logged: list[str] = []
        channel: Any = self.network
        self.patience = Patience()
        self.confirms = ConfirmedChannel(
            channel, link=self.network, patience=self.patience, log=self.log, on_closed=self.closed.append
        )

    def log(self, level: int, event: str, **fields: object) -> None:
        del level, fields
        self.logged.append(event)

    def publish(self, *ids: str, key: str = "key", body: bytes = b"{}") -> None:
        for id_ in ids:
            properties = BasicProperties(message_id=id_, headers={"causation_id": "c"})
            self.confirms.publish("", key, body, properties, partial(self._answered, id_))

    def _answered(self, id_: str, result: PublishResult) -> None:
        self.answers.append((id_, result))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_one_confirm_may_answer_several_and_zero_answers_all(stage: Stage) -> None:
    stage.publish("a", "b", "c", "d")
    stage.network.confirm(2)
    stage.network.confirm(3, multiple=True, nack=True)
    stage.network.confirm(0, multiple=True)
    assert stage.answers == [("b", CONFIRMED), ("a", NACKED), ("c", NACKED), ("d", CONFIRMED)]


def test_a_returned_message_is_not_confirmed_by_the_confirm_that_follows(stage: Stage) -> None:
    stage.publish("a", "b")
    stage.network.give_back("key", b"{}", message_id="b")
    stage.network.confirm(0, multiple=True)
    assert stage.answers == [("b", RETURNED), ("a", CONFIRMED)]


def test_of_equal_messages_the_returns_take_one_each_in_their_order(stage: Stage) -> None:
    stage.publish("same", "same", "other")
    stage.network.give_back("key", b"{}", message_id="same")
    stage.network.give_back("key", b"{}", message_id="same")
    assert stage.answers == [("same", RETURNED)] * 2


def test_what_the_broker_adds_to_a_returned_message_does_not_hide_which_it_is(stage: Stage) -> None:
    stage.publish("a")
    stage.network.give_back("key", b"{}", message_id="a", headers={"timestamp_in_ms": 1}, timestamp=1)
    assert stage.answers == [("a", RETURNED)]


@pytest.mark.parametrize(
    "returned", [{"message_id": "c"}, {"message_id": "a", "body": b"[]"}, {"message_id": "a", "key": "another"}]
)
def test_after_a_return_that_fits_no_message_none_is_confirmed_and_all_are_lost(
    stage: Stage, returned: dict[str, Any]
) -> None:
    stage.publish("a", "b")
    stage.network.give_back(**{"key": "key", "body": b"{}"} | returned)
    stage.network.confirm(0, multiple=True)  # the confirm of the one that was returned, whichever it is
    assert stage.answers == [("a", LOST), ("b", LOST)]
    assert not stage.network.is_open
    assert stage.logged == ["return_unmatched"]
    stage.publish("c")
    assert stage.answers[2:] == [("c", LOST)]
    stage.network.close_ok()
    assert len(stage.closed) == 1
    assert len(stage.answers) == 3


def test_a_lost_channel_answers_all_once(stage: Stage) -> None:
    stage.publish("a", "b")
    stage.network.confirm(1)
    stage.network.lose()
    assert stage.answers == [("a", CONFIRMED), ("b", LOST)]
    assert len(stage.closed) == 1


def test_what_gets_no_answer_for_too_long_is_lost_with_all_that_is_open_and_the_channel_is_closed(stage: Stage) -> None:
    stage.publish("a", "b", "c")
    stage.network.confirm(2)
    look = stage.network.later.pop()
    look()
    assert stage.answers == [("b", CONFIRMED), ("a", LOST), ("c", LOST)]
    assert stage.logged == ["confirms_missing"]
    assert not stage.confirms.is_open
    stage.network.close_ok()
    assert len(stage.closed) == 1


def test_a_message_has_the_whole_time_for_its_answer(stage: Stage) -> None:
    stage.publish("a")
    first = stage.network.later.pop()
    stage.network.confirm(1)
    stage.publish("b")
    first()
    assert stage.answers == [("a", CONFIRMED)]
    stage.network.later.pop()()
    assert stage.answers == [("a", CONFIRMED), ("b", LOST)]


def test_the_time_for_an_answer_doubles_up_to_ten_minutes_until_one_comes(stage: Stage) -> None:
    seconds = []
    for _ in range(6):
        seconds.append(stage.patience.seconds)
        stage.patience.grow()
    assert seconds == [30, 60, 120, 240, 480, 600]
    stage.publish("a")
    stage.network.confirm(1)
    stage.network.later.pop()()
    assert stage.patience.seconds == 30


def test_nothing_is_waited_for_while_nothing_is_open(stage: Stage) -> None:
    assert not stage.network.later
    stage.publish("a")
    stage.network.confirm(1)
    stage.network.later.pop()()
    assert not stage.network.later


@pytest.mark.parametrize("still", [True, False])
def test_an_alarm_of_the_broker_takes_no_time_for_an_answer(stage: Stage, still: object) -> None:
    stage.publish("a")
    stage.network.blockings += 1
    stage.network.blocked = bool(still)
    stage.network.later.pop()()
    assert not stage.answers
    stage.network.blocked = False
    stage.network.later.pop()()
    assert stage.answers == [("a", LOST)]


def test_a_channel_that_is_closed_meanwhile_is_left_alone(stage: Stage) -> None:
    stage.publish("a")
    stage.network.lose()
    stage.network.later.pop()()
    assert stage.answers == [("a", LOST)]
    assert not stage.logged
