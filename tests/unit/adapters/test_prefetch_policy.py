import pytest

from allocation_worker.adapters.rabbitmq.prefetch_policy import (
    FAILURES_BEFORE,
    PrefetchMode,
    PrefetchPolicy,
    PrefetchStep,
    share,
)

PREFETCH = 2000
both = pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])


def isolating(*, ordered: bool) -> PrefetchPolicy:
    policy = PrefetchPolicy(PREFETCH, ordered=ordered)
    policy.delivered(FAILURES_BEFORE)
    assert (policy.mode, policy.window) == (PrefetchMode.ISOLATING, 1)
    return policy


def at_full_prefetch(*, ordered: bool) -> PrefetchPolicy:
    policy = PrefetchPolicy(PREFETCH, ordered=ordered)
    policy.delivered(0)
    assert (policy.mode, policy.window) == (PrefetchMode.FULL, PREFETCH)
    return policy


def of_a_part(failures: int = 1) -> PrefetchPolicy:
    """Whose first message has failed before."""
    policy = PrefetchPolicy(PREFETCH, ordered=False)
    assert policy.delivered(failures) is PrefetchStep.WIDEN
    return policy


def test_each_failed_delivery_lets_fewer_be_together_until_each_is_alone() -> None:
    assert [share(2000, failures) for failures in range(6)] == [2000, 1000, 250, 62, 1, 1]
    assert [share(1, failures) for failures in range(6)] == [1] * 6


def test_where_order_matters_all_are_taken_that_have_come_back_together() -> None:
    policy = PrefetchPolicy(PREFETCH, ordered=True)
    assert policy.window == PREFETCH
    assert [policy.delivered(1) for _ in range(PREFETCH)] == [PrefetchStep.TAKE] * PREFETCH
    assert (policy.mode, policy.window) == (PrefetchMode.FULL, PREFETCH)


def test_where_it_does_not_every_connection_begins_with_one() -> None:
    policy = PrefetchPolicy(PREFETCH, ordered=False)
    assert policy.window == 1
    assert policy.delivered(0) is PrefetchStep.WIDEN
    assert policy.window == PREFETCH
    policy.connection_lost()
    assert (policy.mode, policy.window) == (PrefetchMode.CAUTIOUS, 1)


@pytest.mark.parametrize("failures", range(1, FAILURES_BEFORE))
def test_the_first_message_tells_how_many_are_taken_with_it(failures: int) -> None:
    policy = of_a_part(failures)
    assert (policy.mode, policy.window) == (PrefetchMode.CAUTIOUS, share(PREFETCH, failures))


def test_a_part_is_answered_before_the_next_one_is_begun() -> None:
    policy = of_a_part(failures=3)
    assert [policy.delivered(3) for _ in range(60)] == [PrefetchStep.TAKE] * 60
    assert policy.delivered(3) is PrefetchStep.DRAIN
    assert policy.delivered(3) is PrefetchStep.TAKE  # it was on its way
    policy.drained()
    assert policy.window == 1
    assert policy.delivered(3) is PrefetchStep.WIDEN


@pytest.mark.parametrize("failures", [0, 2])
def test_a_part_ends_where_another_share_is_due(failures: int) -> None:
    policy = of_a_part(failures=1)
    policy.delivered(1)
    assert policy.delivered(failures) is PrefetchStep.DRAIN
    policy.drained()
    assert policy.delivered(failures) is PrefetchStep.WIDEN
    assert policy.window == share(PREFETCH, failures)


def test_at_full_prefetch_what_has_failed_ends_it_until_nothing_is_in_hand() -> None:
    policy = at_full_prefetch(ordered=False)
    assert policy.delivered(0) is PrefetchStep.TAKE
    assert policy.delivered(1) is PrefetchStep.DRAIN
    policy.drained()
    assert (policy.mode, policy.window) == (PrefetchMode.CAUTIOUS, 1)
    assert policy.delivered(0) is PrefetchStep.WIDEN
    assert (policy.mode, policy.window) == (PrefetchMode.FULL, PREFETCH)


@pytest.mark.parametrize("full", [True, False])
def test_what_has_failed_too_often_is_set_aside_until_nothing_else_is_in_hand(*, full: bool) -> None:
    policy = at_full_prefetch(ordered=False) if full else of_a_part()
    assert policy.delivered(FAILURES_BEFORE) is PrefetchStep.SET_ASIDE
    assert policy.mode is PrefetchMode.ISOLATING
    assert policy.delivered(1) is PrefetchStep.SET_ASIDE  # it could not be acked before the other
    assert policy.delivered(0) is PrefetchStep.SET_ASIDE
    policy.drained()
    assert (policy.mode, policy.window) == (PrefetchMode.ISOLATING, 1)
    assert policy.delivered(FAILURES_BEFORE + 1) is PrefetchStep.TAKE


def test_also_if_it_comes_while_others_are_waited_for() -> None:
    policy = of_a_part()
    assert policy.delivered(0) is PrefetchStep.DRAIN
    assert policy.delivered(FAILURES_BEFORE) is PrefetchStep.SET_ASIDE
    policy.drained()
    assert policy.mode is PrefetchMode.ISOLATING


def test_as_the_first_it_is_returned_every_other_time() -> None:
    """It may be what kills the process; the other queues are to have nothing in hand when it is its turn.

    Returned every time, it would stand behind one that kills again and again, until both are dead letters.
    """
    steps = [PrefetchPolicy(PREFETCH, ordered=False).delivered(failures) for failures in range(4, 8)]
    assert steps == [PrefetchStep.RETURN, PrefetchStep.TAKE, PrefetchStep.RETURN, PrefetchStep.TAKE]


@both
def test_a_lost_connection_says_nothing_of_the_messages(*, ordered: bool) -> None:
    """The delivery count says it all, and outlives the process."""
    policy = isolating(ordered=ordered)
    for _ in range(10):
        policy.connection_lost()
    new = PrefetchPolicy(PREFETCH, ordered=ordered)
    assert (policy.mode, policy.window) == (new.mode, new.window)


def test_where_order_matters_a_message_that_failed_a_few_times_changes_nothing() -> None:
    policy = at_full_prefetch(ordered=True)
    assert policy.delivered(FAILURES_BEFORE - 1) is PrefetchStep.TAKE
    assert policy.mode is PrefetchMode.FULL


def test_where_order_matters_one_that_failed_more_often_is_returned_with_all_and_isolates_the_messages() -> None:
    policy = at_full_prefetch(ordered=True)
    assert policy.delivered(FAILURES_BEFORE) is PrefetchStep.RETURN
    assert (policy.mode, policy.window) == (PrefetchMode.ISOLATING, 1)


@both
@pytest.mark.parametrize("failures", [1, FAILURES_BEFORE + 1])
def test_while_isolating_what_was_delivered_before_is_taken(failures: int, *, ordered: bool) -> None:
    policy = isolating(ordered=ordered)
    assert policy.delivered(failures) is PrefetchStep.TAKE
    assert (policy.mode, policy.window) == (PrefetchMode.ISOLATING, 1)


@both
def test_a_message_that_was_never_delivered_before_ends_it(*, ordered: bool) -> None:
    policy = isolating(ordered=ordered)
    assert policy.delivered(0) is (PrefetchStep.RETURN if ordered else PrefetchStep.WIDEN)
    assert (policy.mode, policy.window) == (PrefetchMode.FULL, PREFETCH)


def test_with_a_prefetch_of_one_nothing_is_widened_or_waited_for() -> None:
    policy = PrefetchPolicy(1, ordered=False)
    assert [policy.delivered(failures) for failures in (0, 1, 2, 0, 5, 1, 0)] == [PrefetchStep.TAKE] * 7
    assert policy.mode is PrefetchMode.FULL
