"""The properties of an event give its cause."""

from typing import Any

import pytest

from allocation_contracts import ContractError, EventProperties, read_event_properties
from tests.fakes.messages import FakeProperties

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
VALID: dict[str, Any] = {
    "message_id": "event-1",
    "type": "allocated.v1",
    "content_type": "application/json",
    "correlation_id": "conversation",
    "headers": {"causation_id": "command", "traceparent": TRACEPARENT, "tracestate": "a=b", "x-delivery-count": 1},
    "timestamp": 1_700_000_000,
}


def test_reads_what_the_worker_sends() -> None:
    assert read_event_properties(FakeProperties(**VALID)) == EventProperties(
        message_id="event-1",
        type="allocated.v1",
        correlation_id="conversation",
        causation_id="command",
        traceparent=TRACEPARENT,
        timestamp=1_700_000_000,
        tracestate="a=b",
    )


def test_gives_the_trace_context_as_headers_for_a_tracer() -> None:
    assert read_event_properties(FakeProperties(**VALID)).trace_context == {
        "traceparent": TRACEPARENT,
        "tracestate": "a=b",
    }
    without = FakeProperties(**{**VALID, "headers": {"causation_id": "command", "tracestate": "a=b"}})
    assert read_event_properties(without).trace_context == {}


@pytest.mark.parametrize("headers", [None, {}, {"causation_id": ""}, {"causation_id": 5}], ids=str)
def test_refuses_an_event_that_does_not_say_what_caused_it(headers: dict[str, Any] | None) -> None:
    with pytest.raises(ContractError, match="causation_id must be") as caught:
        read_event_properties(FakeProperties(**{**VALID, "headers": headers}))
    assert caught.value.reason == "invalid-header"


def test_reads_an_event_whose_traceparent_is_broken() -> None:
    headers = {"causation_id": "command", "traceparent": "00-abc-def-01"}
    assert read_event_properties(FakeProperties(**{**VALID, "headers": headers})).traceparent is None


def test_names_the_events_where_the_type_is_missing() -> None:
    with pytest.raises(ContractError, match=r"allocated\.v1, .*command-rejected\.v1") as caught:
        read_event_properties(FakeProperties(**{**VALID, "type": ""}))
    assert caught.value.reason == "missing-type"


def test_refuses_an_event_without_an_id() -> None:
    with pytest.raises(ContractError) as caught:
        read_event_properties(FakeProperties(**{**VALID, "message_id": None}))
    assert caught.value.reason == "missing-message-id"
