"""The properties of an event give its cause."""

from typing import Any

import pytest

from allocation_contracts import ContractError, EventProperties, read_event_properties
from tests.fakes.messages import FakeProperties

VALID: dict[str, Any] = {
    "message_id": "event-1",
    "type": "allocated.v1",
    "content_type": "application/json",
    "correlation_id": "conversation",
    "headers": {"causation_id": "command", "traceparent": "00-abc-def-01", "x-delivery-count": 1},
    "timestamp": 1_700_000_000,
}


def test_reads_what_the_worker_sends() -> None:
    assert read_event_properties(FakeProperties(**VALID)) == EventProperties(
        message_id="event-1",
        type="allocated.v1",
        correlation_id="conversation",
        causation_id="command",
        traceparent="00-abc-def-01",
        timestamp=1_700_000_000,
    )


@pytest.mark.parametrize("headers", [None, {}, {"causation_id": ""}, {"causation_id": 5}], ids=str)
def test_refuses_an_event_that_does_not_say_what_caused_it(headers: dict[str, Any] | None) -> None:
    with pytest.raises(ContractError, match="causation_id must be") as caught:
        read_event_properties(FakeProperties(**{**VALID, "headers": headers}))
    assert caught.value.reason == "invalid-header"


def test_refuses_an_event_without_an_id() -> None:
    with pytest.raises(ContractError) as caught:
        read_event_properties(FakeProperties(**{**VALID, "message_id": None}))
    assert caught.value.reason == "missing-message-id"
