"""The domain's reasons are those of the contract."""

from typing import get_args

from allocation_contracts import DeallocationReason, RejectionReason
from allocation_worker.domain import errors, events


def test_each_refusal_has_a_reason_of_the_contract_and_each_reason_a_refusal() -> None:
    given = [refusal.reason for refusal in errors.RefusalError.__subclasses__()]
    assert sorted(given) == sorted(RejectionReason)


def test_a_line_loses_its_stock_for_the_reasons_of_the_contract() -> None:
    assert sorted(get_args(events.DeallocationReason)) == sorted(DeallocationReason)
