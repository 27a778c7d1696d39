"""The text of a page of the outbox."""

import pytest

from allocation_worker.adapters.postgres import page
from allocation_worker.adapters.postgres.page import StoredEvent
from allocation_worker.service_layer.outgoing import OutgoingEvent

MESSAGE_ID = "0f2f7b5e-54a0-5d5c-9ad2-0d4f3c1f2a6b"


def stored(**changes: object) -> StoredEvent:
    event = StoredEvent(MESSAGE_ID, "allocated.v1", '{"qty": 1}', "order-17", "order-17", None, repeated=False)
    return event._replace(**changes)  # type: ignore[arg-type] # the fields are of several types


@pytest.mark.parametrize("correlation_id", ["order-17", "a conversation"])
@pytest.mark.parametrize("traceparent", [None, "", "00-1-2-01"])
@pytest.mark.parametrize("tracestate", [None, "a=b,c=d=="])
@pytest.mark.parametrize("repeated", [False, True])
def test_an_event_is_read_as_it_was_written(
    correlation_id: str, traceparent: str | None, tracestate: str | None, *, repeated: bool
) -> None:
    about = {"correlation_id": correlation_id, "traceparent": traceparent, "tracestate": tracestate}
    line = page.line(stored(**about, repeated=repeated))
    assert page.outgoing(line, 8192, 1, 1_700_000_000) == OutgoingEvent(
        8192,
        1,
        "allocated",
        b'{"qty": 1}',
        MESSAGE_ID,
        "allocated.v1",
        correlation_id,
        "order-17",
        traceparent,
        1_700_000_000,
        tracestate,
    )


def test_a_random_id_is_stored_without_its_hyphens() -> None:
    assert page.line(stored()).startswith(MESSAGE_ID.replace("-", "") + "\t")


@pytest.mark.parametrize("body", ["a\tb", "a\nb"])
def test_a_field_that_would_end_a_line_or_a_field_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match=r"^A field of an event has a tab or a line feed in it"):
        page.text([page.line(stored(body=body))])
