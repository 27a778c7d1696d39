"""Events are encoded deterministically, and decoded to the same values."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from allocation_contracts import (
    EVENTS,
    Allocated,
    BatchCreated,
    BatchQuantityChanged,
    CommandRejected,
    ContractError,
    Deallocated,
    DeallocationReason,
    Event,
    OutOfStock,
    RejectionReason,
    encode,
    read_command,
    read_event,
    strict_json,
)
from allocation_contracts.events import MAX_EVENT_BYTES
from allocation_contracts.strict_json import MAX_BODY_BYTES, MAX_DEPTH
from tools.schemas import schema_of

ALLOCATED = Allocated(orderid="o", sku="s", lineid="", qty=1, batchref="b", eta=date(2026, 1, 2), sequence=3)


def test_writes_compact_json_in_the_declared_order() -> None:
    assert encode(ALLOCATED) == (
        b'{"orderid":"o","sku":"s","lineid":"","qty":1,"batchref":"b","eta":"2026-01-02","sequence":3}'
    )


def test_writes_unicode_as_it_is() -> None:
    assert '"sku":"é\N{GRINNING FACE}"'.encode() in encode(ALLOCATED.model_copy(update={"sku": "é\N{GRINNING FACE}"}))


def test_writes_absence_as_null() -> None:
    event = Deallocated(orderid="o", sku="s", lineid="", qty=0, batchref=None, reason="cancelled", sequence=1)
    assert b'"qty":0,"batchref":null' in encode(event)


names = st.text("aZ9é注 -", min_size=1, max_size=255).filter(lambda text: text == text.strip())
lines = {"orderid": names, "sku": names, "lineid": names | st.just("")}
positive = st.integers(1, 2**31 - 1)
quantities = st.integers(0, 2**31 - 1)
sequences = st.integers(1, 2**63 - 1)
etas = st.none() | st.dates()
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 10**20, 10**20 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
events = st.one_of(
    st.builds(Allocated, **lines, qty=positive, batchref=names, eta=etas, sequence=sequences),
    st.builds(OutOfStock, **lines, qty=positive, largest_available=quantities, next_eta=etas, sequence=sequences),
    st.builds(
        Deallocated,
        **lines,
        qty=quantities,
        batchref=st.none() | names,
        reason=st.sampled_from([*map(str, DeallocationReason), "stock-lost"]),
        sequence=sequences,
    ),
    st.builds(BatchCreated, batchref=names, sku=names, qty=positive, eta=etas, sequence=sequences),
    st.builds(
        BatchQuantityChanged, batchref=names, sku=names, qty=quantities, previous_qty=quantities, sequence=sequences
    ),
    st.builds(
        CommandRejected,
        command=names,
        reason=st.sampled_from([*map(str, RejectionReason)]),
        detail=names,
        data=st.dictionaries(st.text(), json_values),
    ),
)


@given(events)
def test_an_event_that_was_encoded_is_read_back_equal(event: Event) -> None:
    body = encode(event)
    assert read_event(event.TYPE, body) == event
    assert encode(read_event(event.TYPE, body)) == body


@given(st.sampled_from([*EVENTS, "allocated.v2"]), st.binary())
def test_any_bytes_are_an_event_or_a_contract_violation(type_: str, body: bytes) -> None:
    with pytest.raises(ContractError):
        read_event(type_, body)


def rejected(body: bytes) -> CommandRejected:
    read_command("allocate.v1", body)
    return CommandRejected(command="allocate.v1", reason="unknown-sku", detail="d" * 2_000, data=strict_json.read(body))


@pytest.mark.parametrize("filling", [b"1e15,", b"-9e15,", b'"",', b"0.1,", b"1e-5,", b'"\\u0001",', b'"\x7f",'])
def test_the_largest_command_fits_into_its_rejection(filling: bytes) -> None:
    start, end = b'{"orderid":"o","sku":"s","qty":1,"more":[', b"0]}"
    body = start + filling * ((MAX_BODY_BYTES - len(start) - len(end)) // len(filling)) + end
    event = rejected(body)
    assert len(encode(event)) <= MAX_EVENT_BYTES
    assert read_event(event.TYPE, encode(event)) == event


def test_the_deepest_command_fits_into_its_rejection() -> None:
    levels = MAX_DEPTH - 1
    event = rejected(b'{"orderid":"o","sku":"s","qty":1,"more":' + b"[" * levels + b"]" * levels + b"}")
    assert read_event(event.TYPE, encode(event)) == event


def test_refuses_a_larger_event() -> None:
    with pytest.raises(ContractError) as caught:
        read_event("allocated.v1", encode(ALLOCATED).ljust(MAX_EVENT_BYTES + 1))
    assert caught.value.reason == "body-too-large"


def test_ignores_unknown_fields() -> None:
    assert read_event("allocated.v1", encode(ALLOCATED)[:-1] + b',"new":{}}') == ALLOCATED


@pytest.mark.parametrize(("type_", "reason"), [(None, "missing-type"), ("allocated.v2", "unknown-type")])
def test_refuses_a_type_it_does_not_know(type_: str | None, reason: str) -> None:
    with pytest.raises(ContractError) as caught:
        read_event(type_, encode(ALLOCATED))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", 0),
        ("sequence", 2**63),
        ("sequence", True),
        ("eta", "2026-02-30"),
        ("eta", "2026-01-02T00:00:00"),
        ("qty", 0),
        ("qty", "1"),
        ("batchref", None),
    ],
)
def test_refuses_a_wrong_field(field: str, value: object) -> None:
    body: dict[str, Any] = {**json.loads(encode(ALLOCATED)), field: value}
    with pytest.raises(ContractError, match=f'"{field}" in allocated.v1 must be') as caught:
        read_event("allocated.v1", json.dumps(body).encode())
    assert caught.value.reason == "invalid-body"


@pytest.mark.parametrize("field", json.loads(encode(ALLOCATED)))
def test_misses_every_field(field: str) -> None:
    body = json.loads(encode(ALLOCATED))
    del body[field]
    with pytest.raises(ContractError, match=f'"{field}" is missing in allocated.v1'):
        read_event("allocated.v1", json.dumps(body).encode())


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": "Unknown SKU"},
        {"reason": "unknown-sku\n"},
        {"reason": ""},
        {"detail": ""},
        {"detail": "x" * 2_001},
        {"data": [1]},
    ],
    ids=ascii,
)
def test_refuses_a_wrong_rejection(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CommandRejected(**{"command": "allocate.v1", "reason": "unknown-sku", "detail": "d", "data": {}, **wrong})


def deallocated(reason: str) -> bytes:
    return f'{{"orderid":"o","sku":"s","lineid":"","qty":1,"batchref":null,"reason":"{reason}","sequence":1}}'.encode()


def test_accepts_a_reason_for_deallocation_that_a_later_version_may_give() -> None:
    event = read_event("deallocated.v1", deallocated("stock-lost"))
    assert isinstance(event, Deallocated)
    assert event.reason == "stock-lost"


def test_a_known_reason_equals_its_constant() -> None:
    event = read_event("deallocated.v1", deallocated("cancelled"))
    assert isinstance(event, Deallocated)
    assert event.reason == DeallocationReason.CANCELLED
    assert json.loads(encode(event.model_copy(update={"reason": DeallocationReason.CANCELLED}))) == json.loads(
        deallocated("cancelled")
    )


def test_refuses_a_reason_that_is_no_slug() -> None:
    with pytest.raises(ContractError, match='must be lower-case words joined by hyphens, got "Lost it"'):
        read_event("deallocated.v1", deallocated("Lost it"))


@pytest.mark.parametrize(
    ("model", "reasons"), [(Deallocated, DeallocationReason), (CommandRejected, RejectionReason)], ids=str
)
def test_the_schema_lists_the_known_reasons(
    model: type[Event], reasons: type[DeallocationReason | RejectionReason]
) -> None:
    field = schema_of(model)["properties"]["reason"]
    assert field["examples"] == list(reasons)
    assert all(f"`{reason}`: {reason.meaning}" in field["description"] for reason in reasons)
    assert "enum" not in field


def test_lists_every_event_by_its_type_with_its_routing_key() -> None:
    assert {(type_, model.ROUTING_KEY) for type_, model in EVENTS.items()} == {
        ("allocated.v1", "allocated"),
        ("out-of-stock.v1", "out-of-stock"),
        ("backordered.v1", "backordered"),
        ("promise-changed.v1", "promise-changed"),
        ("line-quantity-changed.v1", "line-quantity-changed"),
        ("shipped.v1", "shipped"),
        ("held.v1", "held"),
        ("hold-lapsed.v1", "hold-lapsed"),
        ("batch-eta-changed.v1", "batch-eta-changed"),
        ("deallocated.v1", "deallocated"),
        ("batch-created.v1", "batch-created"),
        ("batch-quantity-changed.v1", "batch-quantity-changed"),
        ("command-rejected.v1", "command-rejected"),
    }


@pytest.mark.parametrize("reason", [*RejectionReason, *DeallocationReason])
def test_the_readme_tells_each_known_reason(reason: RejectionReason | DeallocationReason) -> None:
    event = CommandRejected if isinstance(reason, RejectionReason) else Deallocated
    readme = (Path(__file__).parents[3] / "contracts" / "README.md").read_text("utf-8")
    assert f"| `{event.TYPE}` | `{reason}` | {reason.meaning} |" in readme
