"""The properties of a command are checked before its body is read."""

from typing import Any

import pytest

from allocation_contracts import (
    COMMANDS,
    Allocate,
    CommandProperties,
    ContractError,
    command_properties,
    read_command_properties,
)
from tests.fakes.messages import FakeProperties

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
COMMAND = Allocate(orderid="o", sku="s", qty=1)


def refusal(**changes: Any) -> ContractError:
    with pytest.raises(ContractError) as caught:
        read_command_properties(FakeProperties(**changes))
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 300
    return caught.value


def test_reads_what_was_sent() -> None:
    properties = FakeProperties(
        message_id="m-1",
        type="allocate.v1",
        content_type=None,
        correlation_id="c-1",
        headers={"traceparent": TRACEPARENT, "other": [1]},
    )
    assert read_command_properties(properties) == CommandProperties(
        message_id="m-1", type="allocate.v1", correlation_id="c-1", traceparent=TRACEPARENT
    )


@pytest.mark.parametrize("correlation_id", [None, ""])
def test_falls_back_to_the_message_id_for_the_correlation_id(correlation_id: str | None) -> None:
    properties = read_command_properties(FakeProperties(message_id="m-1", correlation_id=correlation_id))
    assert (properties.correlation_id, properties.traceparent) == ("m-1", None)


@pytest.mark.parametrize("message_id", [None, ""])
def test_refuses_a_missing_message_id(message_id: str | None) -> None:
    assert refusal(message_id=message_id).reason == "missing-message-id"


BAD_IDS = [" ", " a", "a ", "a\0", "a\nb", "\x7f", "\u2028", "\u200b", "\ud800", "x" * 256, "x" * 10_000, b"\xff", 5]


@pytest.mark.parametrize("message_id", BAD_IDS, ids=ascii)
def test_refuses_an_invalid_message_id(message_id: object) -> None:
    assert refusal(message_id=message_id).reason == "invalid-message-id"


@pytest.mark.parametrize("correlation_id", BAD_IDS, ids=ascii)
def test_refuses_an_invalid_correlation_id(correlation_id: object) -> None:
    violation = refusal(correlation_id=correlation_id)
    assert violation.reason == "invalid-header"
    assert "correlation_id" in violation.detail


@pytest.mark.parametrize("message_id", ["m", "order 1/line 2", "注文-1", "x" * 255])
def test_takes_any_printable_message_id(message_id: str) -> None:
    assert read_command_properties(FakeProperties(message_id=message_id)).message_id == message_id


@pytest.mark.parametrize("type_", [None, "", b"\xff", 1])
def test_refuses_a_missing_type_and_names_the_known_ones(type_: object) -> None:
    violation = refusal(type=type_)
    assert violation.reason == "missing-type"
    assert all(known in violation.detail for known in COMMANDS)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON;charset=UTF-8",
        "application/json ;",
    ],
)
def test_takes_json_with_any_parameters(content_type: str | None) -> None:
    assert read_command_properties(FakeProperties(content_type=content_type)).message_id == "m-1"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/jsonl",
        "application/json-patch",
        "application/ld+json",
        " application/json",
        b"\xff",
    ],
)
def test_refuses_another_content_type(content_type: object) -> None:
    assert refusal(content_type=content_type).reason == "unsupported-content-type"


@pytest.mark.parametrize("traceparent", [TRACEPARENT, f"cc{TRACEPARENT[2:]}", f"cc{TRACEPARENT[2:]}-what-comes-next"])
def test_carries_a_traceparent_of_this_version_and_of_later_ones(traceparent: str) -> None:
    assert read_command_properties(FakeProperties(headers={"traceparent": traceparent})).traceparent == traceparent


BROKEN_TRACEPARENTS = [
    *("", "x" * 256, "a\0", "a\nb", 5, 2**40, b"\xff", ["00"], {"a": 1}, None),
    *(
        f"ff{TRACEPARENT[2:]}",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ),
    *(
        TRACEPARENT.upper(),
        f"{TRACEPARENT}\n",
        f"{TRACEPARENT}-more",
        f"cc{TRACEPARENT[2:]}-{'x' * 255}",
        "00-abc-def-01",
    ),
]


@pytest.mark.parametrize("traceparent", BROKEN_TRACEPARENTS, ids=ascii)
def test_drops_a_broken_traceparent_since_no_order_should_fail_for_it(traceparent: object) -> None:
    assert read_command_properties(FakeProperties(headers={"traceparent": traceparent})).traceparent is None


TRACESTATES = [
    "congo=t61rcWkgMzE",
    "rojo=00f067aa0ba902b7, tenant@vendor=a b,",
    f"a={'x' * 250}",
    ",".join(["a=b"] * 32),
]


@pytest.mark.parametrize("tracestate", TRACESTATES)
def test_carries_what_tracers_add(tracestate: str) -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": tracestate}
    assert read_command_properties(FakeProperties(headers=headers)).tracestate == tracestate
    assert (
        command_properties(COMMAND, message_id="m", traceparent=TRACEPARENT, tracestate=tracestate)["headers"]
        == headers
    )


BROKEN_TRACESTATES = [
    *("", "no-member", "=a", "A=b", "a=b\n", "a=\t", "a=é", f"a={'x' * 257}", f"a={'x' * 250},b={'y' * 255},c=d"),
    *(",".join(["a=b"] * 33), 5, b"a=b", None, {"a": "b"}, ["a=b"]),
]


@pytest.mark.parametrize("tracestate", BROKEN_TRACESTATES, ids=ascii)
def test_drops_a_broken_tracestate_and_keeps_the_traceparent(tracestate: object) -> None:
    read = read_command_properties(FakeProperties(headers={"traceparent": TRACEPARENT, "tracestate": tracestate}))
    assert (read.traceparent, read.tracestate) == (TRACEPARENT, None)


def test_drops_a_tracestate_that_belongs_to_no_traceparent() -> None:
    assert read_command_properties(FakeProperties(headers={"tracestate": "a=b"})).tracestate is None
    headers = {"traceparent": "00-a", "tracestate": "a=b"}
    assert read_command_properties(FakeProperties(headers=headers)).tracestate is None


@pytest.mark.parametrize("attempts", [2, 10**12, "two"])
def test_ignores_a_header_that_the_worker_uses_among_its_own_queues(attempts: object) -> None:
    assert read_command_properties(FakeProperties(headers={"x-attempts": attempts})).message_id == "m-1"


def test_survives_a_header_nested_deeper_than_python_can_follow() -> None:
    table: dict[str, Any] = {}
    for _ in range(5_000):
        table = {"a": table}
    assert read_command_properties(FakeProperties(headers={"traceparent": table})).traceparent is None
    assert "got an object" in refusal(correlation_id=table).detail


def test_builds_properties_by_the_names_of_pika() -> None:
    assert command_properties(
        COMMAND, message_id="m-1", correlation_id="c-1", traceparent=TRACEPARENT, app_id="shop", timestamp=1
    ) == {
        "content_type": "application/json",
        "type": "allocate.v1",
        "message_id": "m-1",
        "correlation_id": "c-1",
        "headers": {"traceparent": TRACEPARENT},
        "app_id": "shop",
        "timestamp": 1,
        "delivery_mode": 2,
    }


def test_builds_no_empty_property_and_no_broken_traceparent() -> None:
    built = command_properties(COMMAND, message_id="m-1", correlation_id="", traceparent="00-a")
    assert (built["correlation_id"], built["headers"]) == (None, None)


def test_builds_what_pika_takes() -> None:
    pika = pytest.importorskip("pika")
    properties = pika.BasicProperties(**command_properties(COMMAND, message_id="m-1"))
    assert read_command_properties(properties) == CommandProperties(
        message_id="m-1", type="allocate.v1", correlation_id="m-1", traceparent=None
    )


def test_builds_nothing_without_a_message_id() -> None:
    with pytest.raises(ContractError, match="message_id is missing"):
        command_properties(COMMAND, message_id="")


@pytest.mark.parametrize("message_id", [" ", "a\n", "x" * 256, "é" * 200], ids=ascii)
def test_builds_nothing_that_would_be_refused_or_that_amqp_cannot_carry(message_id: str) -> None:
    with pytest.raises(ContractError):
        command_properties(COMMAND, message_id=message_id)
    with pytest.raises(ContractError):
        command_properties(COMMAND, message_id="m-1", correlation_id=message_id)
