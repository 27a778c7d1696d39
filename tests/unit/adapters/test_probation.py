from allocation_worker.adapters.rabbitmq.probation import FAILURES_BEFORE, LOSSES_BEFORE, Probation


def after_losses(number: int) -> Probation:
    probation = Probation()
    for _ in range(number):
        probation.connection_lost()
    return probation


def test_a_few_lost_connections_change_nothing() -> None:
    assert not after_losses(LOSSES_BEFORE - 1).on


def test_one_more_puts_the_queue_on_probation() -> None:
    assert after_losses(LOSSES_BEFORE).on


def test_a_message_that_failed_a_few_times_changes_nothing() -> None:
    probation = Probation()
    assert not probation.changed_by(redelivered=True, failures=FAILURES_BEFORE - 1)
    assert not probation.on


def test_a_message_that_failed_more_often_is_given_back_and_begins_a_probation() -> None:
    probation = Probation()
    assert probation.changed_by(redelivered=True, failures=FAILURES_BEFORE)
    assert probation.on


def test_on_probation_what_was_delivered_before_is_taken() -> None:
    probation = after_losses(LOSSES_BEFORE)
    assert not probation.changed_by(redelivered=True, failures=FAILURES_BEFORE + 1)
    assert probation.on


def test_a_message_that_was_never_delivered_before_ends_it() -> None:
    probation = after_losses(LOSSES_BEFORE)
    assert probation.changed_by(redelivered=False, failures=0)
    assert not probation.on


def test_losses_count_from_the_last_new_message_on() -> None:
    probation = after_losses(LOSSES_BEFORE - 1)
    assert not probation.changed_by(redelivered=False, failures=0)
    probation.connection_lost()
    assert not probation.on
