from collections.abc import Sequence
from itertools import count

import pytest

from allocation_worker.adapters.rabbitmq.prefetch_policy import (
    FAILURES_BEFORE_ALONE,
    FAILURES_BEFORE_RETURN,
    PrefetchPolicy,
    PrefetchStep,
    share,
)

PREFETCH = 2000
TAKE, WIDEN, NARROW = PrefetchStep.TAKE, PrefetchStep.WIDEN, PrefetchStep.NARROW


class Consumed:
    """A policy, and the deliveries that it is told of."""

    def __init__(self, *, ordered: bool = False, prefetch: int = PREFETCH) -> None:
        self.policy = PrefetchPolicy(prefetch, ordered=ordered)
        self._tags = count(1)
        self._in_hand: list[int] = []
        self.policy.consuming()

    def deliver(self, *failures: int) -> Sequence[PrefetchStep]:
        """Deliver messages that have failed so often, and return the steps; a new consumer follows where one is due."""
        steps = []
        for each in failures:
            self._in_hand.append(next(self._tags))
            steps.append(self.policy.delivered(self._in_hand[-1], each))
            if steps[-1] is WIDEN:
                self.policy.consuming()
        return steps

    def answer(self, number: int | None = None) -> None:
        """Answer the first ones in hand, or all."""
        answered = self._in_hand[:number]
        del self._in_hand[:number]
        self.policy.answered(answered)


def test_each_failed_delivery_lets_fewer_be_together_until_each_is_alone() -> None:
    assert [share(2000, failures) for failures in range(6)] == [2000, 1000, 250, 62, 1, 1]
    assert [share(1, failures) for failures in range(6)] == [1] * 6


class TestWhereOrderDoesNotMatter:
    def test_every_connection_begins_with_one(self) -> None:
        consumed = Consumed()
        assert consumed.policy.window == 1
        consumed.deliver(0)
        assert consumed.policy.window == PREFETCH
        consumed.policy.channel_closed()
        assert consumed.policy.window == 1

    @pytest.mark.parametrize("failures", range(FAILURES_BEFORE_ALONE))
    def test_the_first_message_tells_how_many_are_taken_beside_it(self, failures: int) -> None:
        consumed = Consumed()
        assert consumed.deliver(failures) == [WIDEN]
        assert consumed.policy.window == share(PREFETCH, failures)

    def test_nothing_changes_while_there_is_room_since_messages_may_be_on_their_way(self) -> None:
        consumed = Consumed(prefetch=100)
        assert consumed.deliver(1) == [WIDEN]
        assert set(consumed.deliver(*[0] * 49)) == {TAKE}
        consumed.answer(10)  # the first was of the consumer before
        assert set(consumed.deliver(*[0] * 9)) == {TAKE}
        assert consumed.deliver(0) == [WIDEN]

    def test_more_are_taken_once_nothing_in_hand_has_failed(self) -> None:
        consumed = Consumed(prefetch=100)
        consumed.deliver(1)
        assert set(consumed.deliver(*[0] * 25, 1, *[0] * 24)) == {TAKE}
        consumed.answer(26)
        assert set(consumed.deliver(*[0] * 25)) == {TAKE}
        consumed.answer(1)
        assert consumed.deliver(0) == [WIDEN]
        assert consumed.policy.window == 100

    def test_fewer_are_taken_as_soon_as_one_in_hand_demands_it_and_all_are_answered(self) -> None:
        consumed = Consumed(prefetch=100)
        assert consumed.deliver(0) == [WIDEN]
        assert set(consumed.deliver(*[0] * 98, 3)) == {TAKE}
        assert consumed.deliver(0) == [NARROW]
        assert consumed.policy.window == share(100, 3)
        consumed.answer(100)
        assert not consumed.policy.nothing_in_hand
        consumed.answer()
        assert consumed.policy.nothing_in_hand

    def test_one_that_has_failed_too_often_is_alone_until_a_new_one_comes(self) -> None:
        consumed = Consumed()
        for failures in (4, 9, 20, 1 + FAILURES_BEFORE_ALONE):
            assert consumed.deliver(failures) == [TAKE]
            assert consumed.policy.window == 1
            consumed.answer()
        assert consumed.deliver(0) == [WIDEN]

    def test_with_a_prefetch_of_one_nothing_changes(self) -> None:
        consumed = Consumed(prefetch=1)
        for failures in (0, 1, 2, 0, 5, 1, 0):
            assert consumed.deliver(failures) == [TAKE]
            consumed.answer()


class TestWhereOrderMatters:
    def test_as_many_are_taken_from_the_start_as_may_have_come_back_together(self) -> None:
        consumed = Consumed(ordered=True)
        assert consumed.policy.window == PREFETCH
        for failures in range(FAILURES_BEFORE_RETURN):
            assert set(consumed.deliver(*[failures] * PREFETCH)) == {TAKE}
            consumed.answer()
        assert consumed.policy.window == PREFETCH

    def test_what_has_failed_again_and_again_is_returned_with_all_and_then_taken_alone(self) -> None:
        consumed = isolating()
        assert consumed.deliver(FAILURES_BEFORE_RETURN + 1) == [TAKE]
        consumed.answer()
        assert consumed.deliver(1) == [TAKE]
        assert consumed.policy.window == 1

    def test_a_lost_connection_does_not_end_that(self) -> None:
        """Else all that is left would be taken and returned again."""
        consumed = isolating()
        consumed.policy.channel_closed()
        assert consumed.policy.window == 1

    def test_a_message_that_was_never_delivered_before_ends_it(self) -> None:
        consumed = isolating()
        assert consumed.deliver(0) == [PrefetchStep.HAND_OVER]
        assert consumed.policy.window == PREFETCH

    def test_with_a_prefetch_of_one_nothing_is_returned(self) -> None:
        consumed = Consumed(ordered=True, prefetch=1)
        for failures in (0, FAILURES_BEFORE_RETURN, 0):
            assert consumed.deliver(failures) == [TAKE]
            consumed.answer()


def isolating() -> Consumed:
    consumed = Consumed(ordered=True)
    assert consumed.deliver(FAILURES_BEFORE_RETURN) == [PrefetchStep.RETURN]
    consumed.policy.channel_closed()
    consumed.policy.consuming()
    return consumed
