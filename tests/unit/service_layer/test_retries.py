"""The delay of a retry."""

from dataclasses import replace

import pytest

from allocation_worker.domain.commands import Allocate
from allocation_worker.domain.errors import LineCancelledError, UnknownBatchError, UnknownSkuError
from allocation_worker.service_layer.outcomes import DeadLettered, Retry
from allocation_worker.service_layer.retries import RetryPolicy
from tests.fakes.messages import message

POLICY = RetryPolicy(grace_attempts=2, grace_delay=3, delays=(1, 5))
COMMAND = Allocate(orderid="o", sku="LAMP", qty=1)


@pytest.mark.parametrize(
    ("attempts", "outcome"),
    [(0, Retry(after=3, attempts=1)), (1, Retry(after=3, attempts=2)), (2, None), (99, None)],
)
def test_an_unknown_sku_is_tried_again_for_a_while(attempts: int, outcome: Retry | None) -> None:
    assert POLICY.after_refusal(UnknownSkuError("?"), message(COMMAND, attempts=attempts)) == outcome


@pytest.mark.parametrize("refusal", [LineCancelledError("?"), UnknownBatchError("?")])
def test_other_refusals_stand_at_once(refusal: LineCancelledError | UnknownBatchError) -> None:
    assert POLICY.after_refusal(refusal, message(COMMAND)) is None


@pytest.mark.parametrize(("attempts", "after"), [(0, 1), (1, 5)])
def test_a_failure_is_tried_again_after_each_delay(attempts: int, after: int) -> None:
    outcome = POLICY.after_failure(ValueError("?"), message(COMMAND, attempts=attempts))
    assert outcome == Retry(after=after, attempts=attempts + 1)


def test_then_it_is_a_dead_letter_with_the_exception() -> None:
    outcome = POLICY.after_failure(ValueError("why"), message(COMMAND, "m", attempts=2))
    assert outcome == DeadLettered(
        reason="handler-failed",
        detail="allocate.v1 'm' failed 3 times; fix the cause, then redrive it.",
        attempts=3,
        exception="ValueError: why",
    )


def test_without_delays_it_is_a_dead_letter_at_once() -> None:
    outcome = replace(POLICY, delays=()).after_failure(ValueError("why"), message(COMMAND))
    assert isinstance(outcome, DeadLettered)


def test_each_delay_is_listed_once_for_the_queues_to_be_made() -> None:
    assert replace(POLICY, grace_delay=5, delays=(30, 1, 5)).all_delays == (1, 5, 30)
