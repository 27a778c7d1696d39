"""The properties of a copy fit into one frame, and give its reason."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import BasicProperties

from allocation_contracts.amqp.lenient import UndecodableProperties
from allocation_worker.adapters.rabbitmq.copies import dead_letter_copy, redriven_copy, retry_copy
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.service_layer.outcomes import DeadLettered, Retry


def delivery(properties: BasicProperties) -> Delivery:
    return Delivery(
        tag=1,
        queue="allocation.orders",
        generation=1,
        body=b"{}",
        failures=0,
        routing_key="allocate",
        exchange="allocation.commands",
        properties=properties,
    )


def test_headers_of_our_names_are_not_taken_over_from_the_sender() -> None:
    forged: dict[str, Any] = {
        "x-exception": "Forged: yes",
        "x-original-user-id": "somebody",
        "x-reason": "forged",
        "kept": 1,
    }
    copy = dead_letter_copy(
        delivery(BasicProperties(headers=forged)), DeadLettered(reason="bad", detail="Bad."), 131_072
    )
    assert copy.headers is not None
    assert (copy.headers["x-reason"], copy.headers["kept"]) == ("bad", 1)
    assert {"x-exception", "x-original-user-id"}.isdisjoint(copy.headers)
    again = retry_copy(
        delivery(BasicProperties(headers=forged | {"x-attempts": 99})), Retry(after=1, attempts=1), 131_072
    )
    assert again.headers == {"x-attempts": 1, "kept": 1}


def size(properties: BasicProperties) -> int:
    return sum(map(len, properties.encode()))


@given(
    frame_max=st.integers(4096, 131_072),
    headers=st.dictionaries(st.text(max_size=20), st.text(max_size=3000), max_size=10),
    detail=st.text(max_size=3000),
    exception=st.none() | st.text(max_size=3000),
    short=st.text(max_size=60),
)
def test_it_fits_into_a_frame_of_any_size(
    frame_max: int, headers: dict[str, str], detail: str, exception: str | None, short: str
) -> None:
    names: dict[str, Any] = dict.fromkeys(
        ("message_id", "type", "correlation_id", "reply_to", "app_id", "expiration", "user_id", "content_type"), short
    )
    original = BasicProperties(headers=headers, **names)
    outcome = DeadLettered(reason="bad", detail=detail, exception=exception)
    copy = dead_letter_copy(delivery(original), outcome, frame_max)
    assert size(copy) <= frame_max - 20
    assert copy.headers is not None
    assert copy.headers["x-reason"] == "bad"


@pytest.mark.parametrize("table_size", [100, 100_000])
def test_headers_that_cannot_be_decoded_are_kept_as_bytes(table_size: int) -> None:
    table = b"\x01hT" + b"\xff" * 8 + b"\x01s" + b"S" + struct.pack(">I", table_size) + b"x" * table_size
    raw = b"\x20\x80" + struct.pack(">I", len(table)) + table + b"\x03m-1"
    original = UndecodableProperties(raw, ValueError("year 55955 is out of range"))
    copy = dead_letter_copy(
        delivery(original), DeadLettered(reason="undecodable-headers", detail=original.detail), 131_072
    )
    received = BasicProperties().decode(b"".join(copy.encode()))
    assert received.message_id == "m-1"
    headers = dict(received.headers or {})
    assert headers["x-original-properties"] == raw
    assert "year 55955" in str(headers["x-detail"])
    assert redriven_copy(received, 131_072).headers == {}
