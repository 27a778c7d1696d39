"""Only a count that our own copies could carry counts."""

from typing import Any

import pytest
from pika.spec import BasicProperties

from allocation_worker.adapters.rabbitmq.delivery import failed_attempts


def test_a_copy_of_ours_says_how_many_attempts_have_failed() -> None:
    assert failed_attempts(BasicProperties(headers={"x-attempts": 2})) == 2


def test_a_first_delivery_has_none() -> None:
    assert failed_attempts(BasicProperties()) == 0


@pytest.mark.parametrize("attempts", [True, -1, 1_001, 2**63, 1.0, "1", None, [1]])
def test_what_is_no_such_count_is_ignored(attempts: Any) -> None:
    assert failed_attempts(BasicProperties(headers={"x-attempts": attempts})) == 0
