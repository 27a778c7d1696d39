import pytest

from allocation_worker.adapters.rabbitmq.prefetch_policy import (
    FAILURES_BEFORE,
    LOSSES_BEFORE,
    PrefetchMode,
    PrefetchPolicy,
)

both = pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])


def after_losses(number: int, *, ordered: bool = True) -> PrefetchPolicy:
    policy = PrefetchPolicy(ordered=ordered)
    for _ in range(number):
        policy.connection_lost()
    return policy


def at_full_prefetch(*, ordered: bool) -> PrefetchPolicy:
    policy = PrefetchPolicy(ordered=ordered)
    policy.changed_by(redelivered=False, failures=0)
    assert policy.mode is PrefetchMode.FULL
    return policy


def test_where_order_matters_all_are_taken_that_have_come_back_together() -> None:
    policy = PrefetchPolicy(ordered=True)
    assert policy.mode is PrefetchMode.FULL
    assert not policy.changed_by(redelivered=True, failures=1)
    assert policy.mode is PrefetchMode.FULL


def test_where_it_does_not_every_connection_begins_with_one_at_a_time() -> None:
    policy = PrefetchPolicy(ordered=False)
    assert policy.mode is PrefetchMode.CAUTIOUS
    assert policy.changed_by(redelivered=False, failures=0)
    policy.connection_lost()
    assert policy.mode is PrefetchMode.CAUTIOUS


def test_what_has_come_back_is_taken_carefully_until_there_is_a_new_message() -> None:
    policy = PrefetchPolicy(ordered=False)
    assert not policy.changed_by(redelivered=True, failures=FAILURES_BEFORE - 1)
    assert policy.mode is PrefetchMode.CAUTIOUS
    assert policy.changed_by(redelivered=False, failures=0)


def test_a_few_lost_connections_change_nothing() -> None:
    assert after_losses(LOSSES_BEFORE - 1).mode is PrefetchMode.FULL


@both
def test_one_more_isolates_the_messages(*, ordered: bool) -> None:
    assert after_losses(LOSSES_BEFORE, ordered=ordered).mode is PrefetchMode.ISOLATING


@both
def test_a_message_that_failed_a_few_times_changes_nothing(*, ordered: bool) -> None:
    policy = at_full_prefetch(ordered=ordered)
    assert not policy.changed_by(redelivered=True, failures=FAILURES_BEFORE - 1)
    assert policy.mode is PrefetchMode.FULL


@both
def test_a_message_that_failed_more_often_is_returned_and_isolates_the_messages(*, ordered: bool) -> None:
    policy = at_full_prefetch(ordered=ordered)
    assert policy.changed_by(redelivered=True, failures=FAILURES_BEFORE)
    assert policy.mode is PrefetchMode.ISOLATING


def test_also_if_it_is_the_first_that_is_taken_carefully() -> None:
    """It may be what kills the process; the other queues are to have nothing in hand when it is its turn."""
    policy = PrefetchPolicy(ordered=False)
    assert policy.changed_by(redelivered=True, failures=FAILURES_BEFORE)
    assert policy.mode is PrefetchMode.ISOLATING


@both
def test_while_isolating_what_was_delivered_before_is_taken(*, ordered: bool) -> None:
    policy = after_losses(LOSSES_BEFORE, ordered=ordered)
    assert not policy.changed_by(redelivered=True, failures=FAILURES_BEFORE + 1)
    assert policy.mode is PrefetchMode.ISOLATING


@both
def test_a_message_that_was_never_delivered_before_ends_it(*, ordered: bool) -> None:
    policy = after_losses(LOSSES_BEFORE, ordered=ordered)
    assert policy.changed_by(redelivered=False, failures=0)
    assert policy.mode is PrefetchMode.FULL


@both
def test_losses_count_from_the_last_new_message_on(*, ordered: bool) -> None:
    policy = after_losses(LOSSES_BEFORE - 1, ordered=ordered)
    policy.changed_by(redelivered=False, failures=0)
    policy.connection_lost()
    assert policy.mode is not PrefetchMode.ISOLATING
