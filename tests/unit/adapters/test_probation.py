import pytest

from allocation_worker.adapters.rabbitmq.probation import FAILURES_BEFORE, LOSSES_BEFORE, Pace, Probation

both = pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])


def after_losses(number: int, *, ordered: bool = True) -> Probation:
    probation = Probation(ordered=ordered)
    for _ in range(number):
        probation.connection_lost()
    return probation


def at_full_pace(*, ordered: bool) -> Probation:
    probation = Probation(ordered=ordered)
    probation.changed_by(redelivered=False, failures=0)
    assert probation.pace is Pace.FULL
    return probation


def test_where_order_matters_all_are_taken_that_have_come_back_together() -> None:
    probation = Probation(ordered=True)
    assert probation.pace is Pace.FULL
    assert not probation.changed_by(redelivered=True, failures=1)
    assert probation.pace is Pace.FULL


def test_where_it_does_not_every_connection_begins_with_one_at_a_time() -> None:
    probation = Probation(ordered=False)
    assert probation.pace is Pace.CAREFUL
    assert probation.changed_by(redelivered=False, failures=0)
    probation.connection_lost()
    assert probation.pace is Pace.CAREFUL


def test_what_has_come_back_is_taken_carefully_until_there_is_a_new_message() -> None:
    probation = Probation(ordered=False)
    assert not probation.changed_by(redelivered=True, failures=FAILURES_BEFORE - 1)
    assert probation.pace is Pace.CAREFUL
    assert probation.changed_by(redelivered=False, failures=0)


def test_a_few_lost_connections_change_nothing() -> None:
    assert after_losses(LOSSES_BEFORE - 1).pace is Pace.FULL


@both
def test_one_more_puts_the_queue_on_probation(*, ordered: bool) -> None:
    assert after_losses(LOSSES_BEFORE, ordered=ordered).pace is Pace.PROBATION


@both
def test_a_message_that_failed_a_few_times_changes_nothing(*, ordered: bool) -> None:
    probation = at_full_pace(ordered=ordered)
    assert not probation.changed_by(redelivered=True, failures=FAILURES_BEFORE - 1)
    assert probation.pace is Pace.FULL


@both
def test_a_message_that_failed_more_often_is_given_back_and_begins_a_probation(*, ordered: bool) -> None:
    probation = at_full_pace(ordered=ordered)
    assert probation.changed_by(redelivered=True, failures=FAILURES_BEFORE)
    assert probation.pace is Pace.PROBATION


def test_also_if_it_is_the_first_that_is_taken_carefully() -> None:
    """It may be what kills the process; the other queues are to have nothing in hand when it is its turn."""
    probation = Probation(ordered=False)
    assert probation.changed_by(redelivered=True, failures=FAILURES_BEFORE)
    assert probation.pace is Pace.PROBATION


@both
def test_on_probation_what_was_delivered_before_is_taken(*, ordered: bool) -> None:
    probation = after_losses(LOSSES_BEFORE, ordered=ordered)
    assert not probation.changed_by(redelivered=True, failures=FAILURES_BEFORE + 1)
    assert probation.pace is Pace.PROBATION


@both
def test_a_message_that_was_never_delivered_before_ends_it(*, ordered: bool) -> None:
    probation = after_losses(LOSSES_BEFORE, ordered=ordered)
    assert probation.changed_by(redelivered=False, failures=0)
    assert probation.pace is Pace.FULL


@both
def test_losses_count_from_the_last_new_message_on(*, ordered: bool) -> None:
    probation = after_losses(LOSSES_BEFORE - 1, ordered=ordered)
    probation.changed_by(redelivered=False, failures=0)
    probation.connection_lost()
    assert probation.pace is not Pace.PROBATION
