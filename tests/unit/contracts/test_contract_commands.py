"""Commands are read strictly, and every error says what to do."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from allocation_contracts import (
    COMMANDS,
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    ContractError,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
    encode,
    read_command,
)

ALLOCATE: dict[str, Any] = {"orderid": "order-1", "sku": "SMALL-TABLE", "qty": 10}
CREATE_BATCH: dict[str, Any] = {"batchref": "batch-1", "sku": "SMALL-TABLE", "qty": 10, "eta": None}


def refusal(type_: str | None, body: bytes | dict[str, Any]) -> ContractError:
    with pytest.raises(ContractError) as caught:
        read_command(type_, body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ({"orderid": "o", "sku": "s", "qty": 1}, Allocate(orderid="o", sku="s", qty=1)),
        (
            {"orderid": "o", "sku": "s", "qty": 1, "lineid": "2"},
            Allocate(orderid="o", sku="s", qty=1, lineid="2"),
        ),
        ({"orderid": "o", "sku": "s", "qty": 1, "lineid": None}, Allocate(orderid="o", sku="s", qty=1)),
        ({"orderid": "o", "sku": "s", "lineid": ""}, Deallocate(orderid="o", sku="s")),
        ({"orderid": "o", "sku": "s", "lineid": None}, Deallocate(orderid="o", sku="s", lineid="")),
        (
            {"batchref": "b", "sku": "s", "qty": 1, "eta": "2026-02-28"},
            CreateBatch(batchref="b", sku="s", qty=1, eta=date(2026, 2, 28)),
        ),
        ({"batchref": "b", "sku": "s", "qty": 1, "eta": None}, CreateBatch(batchref="b", sku="s", qty=1)),
        ({"batchref": "b", "sku": "s", "qty": 1}, CreateBatch(batchref="b", sku="s", qty=1, eta=None)),
        ({"batchref": "b", "qty": 0}, ChangeBatchQuantity(batchref="b", qty=0)),
        (
            {"orderid": "o", "sku": "s", "qty": 1, "wait": True, "priority": 9, "needed_by": "2026-02-28"},
            Allocate(orderid="o", sku="s", qty=1, wait=True, priority=9, needed_by=date(2026, 2, 28)),
        ),
        (
            {"orderid": "o", "sku": "s", "qty": 1, "wait": None, "priority": None, "needed_by": None},
            Allocate(orderid="o", sku="s", qty=1),
        ),
        ({"orderid": "o", "sku": "s", "lineid": None}, Ship(orderid="o", sku="s")),
        ({"orderid": "o", "sku": "s", "qty": 1}, ChangeLineQuantity(orderid="o", sku="s", qty=1)),
        (
            {"orderid": "o", "sku": "s", "qty": 1, "from_qty": 2},
            ChangeLineQuantity(orderid="o", sku="s", qty=1, from_qty=2),
        ),
        (
            {"orderid": "o", "sku": "s", "qty": 1, "until": "2026-02-28T12:00:00Z"},
            Hold(orderid="o", sku="s", qty=1, until=datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ),
        ({"batchref": "b", "eta": "2026-02-28"}, ChangeBatchEta(batchref="b", eta=date(2026, 2, 28))),
        ({"batchref": "b", "eta": None}, ChangeBatchEta(batchref="b", eta=None)),
    ],
)
def test_reads_each_command(body: dict[str, Any], command: Command) -> None:
    assert read_command(command.TYPE, json.dumps(body).encode()) == command


def test_ignores_unknown_fields() -> None:
    body = {**ALLOCATE, "colour": ["red", {"shade": 1.5}]}
    command = read_command("allocate.v1", json.dumps(body).encode())
    assert command == Allocate(orderid="order-1", sku="SMALL-TABLE", qty=10)


def test_takes_names_in_any_script_and_blanks_inside() -> None:
    command = read_command("deallocate.v1", '{"orderid":"注文 1","sku":"é\N{GRINNING FACE}"}'.encode())
    assert command == Deallocate(orderid="注文 1", sku="é\N{GRINNING FACE}")


@pytest.mark.parametrize("type_", [None, ""])
def test_refuses_a_missing_type(type_: str | None) -> None:
    violation = refusal(type_, ALLOCATE)
    assert violation.reason == "missing-type"
    assert "allocate.v1" in violation.detail


@pytest.mark.parametrize("type_", ["allocate.v2", "allocate", "ALLOCATE.V1", "allocated.v1", " ", "x" * 10_000])
def test_refuses_an_unknown_type_and_names_the_known_ones(type_: str) -> None:
    violation = refusal(type_, ALLOCATE)
    assert violation.reason == "unknown-type"
    assert all(known in violation.detail for known in COMMANDS)
    assert len(violation.detail) < 250


def test_names_the_field_the_type_the_rule_and_the_value() -> None:
    assert (
        str(refusal("allocate.v1", {**ALLOCATE, "qty": True}))
        == '"qty" in allocate.v1 must be an integer from 1 to 2147483647, got true.'
    )


def test_names_a_missing_field() -> None:
    detail = str(refusal("allocate.v1", {"orderid": "o", "qty": 1}))
    assert detail.startswith('"sku" is missing in allocate.v1; it must be text of 1 to 255 characters')


BAD_INTEGERS = [True, False, 1.0, 1.5, "1", "", None, -5, 2**31, 2**63, 10**20 - 1, [1], {}]


@pytest.mark.parametrize("qty", [*BAD_INTEGERS, 0])
def test_refuses_an_order_of_a_quantity_that_is_not_an_integer_from_1(qty: object) -> None:
    violation = refusal("allocate.v1", {**ALLOCATE, "qty": qty})
    assert violation.reason == "invalid-body"
    assert '"qty" in allocate.v1' in violation.detail


@pytest.mark.parametrize("qty", BAD_INTEGERS)
def test_refuses_a_batch_quantity_that_is_not_an_integer_from_0(qty: object) -> None:
    assert refusal("change-batch-quantity.v1", {"batchref": "b", "qty": qty}).reason == "invalid-body"


@pytest.mark.parametrize("literal", [b"9" * 5_000, b"1e400", b"NaN"])
def test_refuses_a_quantity_without_bounds_before_it_is_a_number(literal: bytes) -> None:
    assert refusal("allocate.v1", b'{"orderid":"o","sku":"s","qty":' + literal + b"}").reason == "invalid-json"


def test_refuses_a_lone_surrogate() -> None:
    assert refusal("allocate.v1", b'{"orderid":"\\ud800","sku":"s","qty":1}').reason == "invalid-json"


BAD_TEXTS = [
    *("nul\0inside", "a\n", "a\tb", "\x1f", "del\x7f", "c1\x85", "\x9f", "line\u2028separator", "paragraph\u2029"),
    *(" ", "   ", " a", "a ", "\u00a0a", "a\u3000", "\u2003"),
    *("x" * 256, "x" * 10_000, 1, True, ["a"], {"a": 1}),
]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ("orderid", "sku", "lineid") for value in BAD_TEXTS),
        *(("orderid", None), ("sku", None)),
    ],
    ids=ascii,
)
def test_refuses_unclean_text(field: str, value: object) -> None:
    violation = refusal("allocate.v1", {**ALLOCATE, field: value})
    assert violation.reason == "invalid-body"
    assert f'"{field}" in allocate.v1' in violation.detail
    assert len(violation.detail) < 250
    assert violation.detail.isprintable()


@pytest.mark.parametrize("field", ["orderid", "sku"])
def test_refuses_an_empty_id(field: str) -> None:
    assert refusal("deallocate.v1", {**ALLOCATE, field: ""}).reason == "invalid-body"


def test_takes_ids_of_255_characters() -> None:
    command = read_command("deallocate.v1", json.dumps({"orderid": "é" * 255, "sku": "x" * 255}).encode())
    assert isinstance(command, Deallocate)
    assert len(command.orderid) == 255


@given(st.text(st.characters(categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=3), st.text(max_size=3))
def test_refuses_every_control_character_and_line_separator_anywhere(control: str, around: str) -> None:
    with pytest.raises(ValidationError):
        Deallocate(orderid=f"x{around}{control}{around}x", sku="s")


@given(st.characters(categories=["Zs"]))
def test_refuses_every_blank_at_the_ends(blank: str) -> None:
    for text in (blank, f"{blank}a", f"a{blank}"):
        with pytest.raises(ValidationError):
            Deallocate(orderid=text, sku="s")


@pytest.mark.parametrize(
    "eta",
    [
        *("2026-02-30", "2026-02-29", "2026-13-01", "0000-01-01", "2026-W01-1", "20260101", "2026-1-1", "26-01-01"),
        *(
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00Z",
            "2026-01-01\n",
            " 2026-01-01",
            "\u0662026-01-01",
            "-2026-01-01",
        ),
        *("", "tomorrow", "null", 20260101, 1767225600, 1.5, True, ["2026-01-01"], {}),
    ],
    ids=ascii,
)
def test_refuses_an_eta_that_is_not_a_day_that_exists(eta: object) -> None:
    violation = refusal("create-batch.v1", {**CREATE_BATCH, "eta": eta})
    assert violation.reason == "invalid-body"
    assert '"eta" in create-batch.v1 must be a date that exists, as "YYYY-MM-DD", or null' in violation.detail


def test_refuses_to_be_built_with_a_datetime() -> None:
    with pytest.raises(ValidationError):
        CreateBatch(batchref="b", sku="s", qty=1, eta=datetime(2026, 1, 1))  # noqa: DTZ001 - whether it has a zone is beside the point


HOLD: dict[str, Any] = {"orderid": "order-1", "sku": "SMALL-TABLE", "qty": 10, "until": "2026-02-28T12:00:00Z"}


def test_a_new_day_of_arrival_is_said_even_if_it_is_null() -> None:
    violation = refusal("change-batch-eta.v1", {"batchref": "batch-1"})
    assert violation.detail.startswith('"eta" is missing in change-batch-eta.v1; it must be a date that exists')


@pytest.mark.parametrize(
    ("type_", "body", "field", "values", "words"),
    [
        ("allocate.v1", ALLOCATE, "wait", ["true", 1, 0, "", []], "true, false or null"),
        ("allocate.v1", ALLOCATE, "priority", [-1, 10, 1.0, "1", True], "null or an integer from 0 to 9"),
        (
            "allocate.v1",
            ALLOCATE,
            "needed_by",
            ["2026-02-30", "2026-02-28T00:00:00Z", "", 20260228],
            'a date that exists, as "YYYY-MM-DD", or null',
        ),
        (
            "change-line-quantity.v1",
            ALLOCATE,
            "from_qty",
            [0, -1, "1", 1.0, True, 2**31],
            "null or an integer from 1 to 2147483647",
        ),
        ("change-line-quantity.v1", ALLOCATE, "qty", [0, None, "1"], "an integer from 1 to 2147483647"),
        (
            "hold.v1",
            HOLD,
            "until",
            [
                *("2026-02-30T12:00:00Z", "2026-02-28T24:00:00Z", "2026-02-28T12:60:00Z", "2026-02-28T12:00Z"),
                *("2026-02-28T12:00:00", "2026-02-28T12:00:00+02:00", "2026-02-28 12:00:00Z", "2026-02-28"),
                *("2026-02-28T12:00:00.Z", "2026-02-28T12:00:00.1234567890Z", "2026-02-28T12:00:00Z\n"),
                *("", "tomorrow", None, 1767225600, True),
            ],
            'a time that exists, in UTC, as "YYYY-MM-DDThh:mm:ssZ"',
        ),
        ("hold.v1", HOLD, "qty", [0, None], "an integer from 1 to 2147483647"),
        (
            "change-batch-eta.v1",
            {"batchref": "b"},
            "eta",
            ["2026-02-30", "", 1],
            'a date that exists, as "YYYY-MM-DD", or null',
        ),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_tells_what_a_field_must_be(
    type_: str, body: dict[str, Any], field: str, values: list[object], words: str
) -> None:
    for value in values:
        violation = refusal(type_, {**body, field: value})
        assert violation.reason == "invalid-body"
        assert violation.detail.startswith(f'"{field}" in {type_} must be {words}, got ')


@pytest.mark.parametrize(
    ("until", "microseconds"),
    [
        ("2026-02-28T12:00:00+00:00", 0),
        ("2026-02-28T12:00:00.5Z", 500_000),
        ("2026-02-28T12:00:00.123456Z", 123_456),
        ("2026-02-28T12:00:00.1234567Z", 123_456),  # .NET
        ("2026-02-28T12:00:00.123456789Z", 123_456),  # Go
    ],
)
def test_a_time_may_have_fractions_of_a_second(until: str, microseconds: int) -> None:
    command = read_command("hold.v1", json.dumps({**HOLD, "until": until}).encode())
    assert command == Hold(
        orderid="order-1",
        sku="SMALL-TABLE",
        qty=10,
        until=datetime(2026, 2, 28, 12, microsecond=microseconds, tzinfo=UTC),
    )


def test_a_hold_is_built_with_a_time_of_any_zone_and_written_in_utc() -> None:
    until = datetime(2026, 2, 28, 12, tzinfo=timezone(timedelta(hours=2)))
    command = Hold(orderid="o", sku="s", qty=1, until=until)
    assert json.loads(encode(command))["until"] == "2026-02-28T10:00:00Z"


@pytest.mark.parametrize(
    ("until", "why"),
    [
        (datetime(2026, 2, 28, 12), "a time zone is missing"),  # noqa: DTZ001 - that it has none is tested
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "not within the years 1 to 9999"),
    ],
)
def test_a_hold_is_not_built_with_a_time_that_no_worker_could_read(until: datetime, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Hold(orderid="o", sku="s", qty=1, until=until)


def test_commands_are_frozen() -> None:
    command = Deallocate(orderid="o", sku="s")
    with pytest.raises(ValidationError):
        command.sku = "t"  # type: ignore[misc]  # that it can't be assigned is what is tested


def test_lists_every_command_by_its_type_with_its_route() -> None:
    assert {(type_, model.ROUTING_KEY, model.QUEUE) for type_, model in COMMANDS.items()} == {
        ("allocate.v1", "allocate", "allocation.orders"),
        ("deallocate.v1", "deallocate", "allocation.orders"),
        ("create-batch.v1", "create-batch", "allocation.stock"),
        ("change-batch-quantity.v1", "change-batch-quantity", "allocation.stock"),
        ("ship.v1", "ship", "allocation.orders"),
        ("change-line-quantity.v1", "change-line-quantity", "allocation.orders"),
        ("hold.v1", "hold", "allocation.orders"),
        ("change-batch-eta.v1", "change-batch-eta", "allocation.stock"),
    }


names = st.text("aZ9é注 -", min_size=1, max_size=255).filter(lambda text: text == text.strip())
quantities = st.integers(1, 2**31 - 1)
commands = st.one_of(
    st.builds(Allocate, orderid=names, sku=names, qty=quantities, lineid=names | st.just("")),
    st.builds(Deallocate, orderid=names, sku=names, lineid=names | st.just("")),
    st.builds(CreateBatch, batchref=names, sku=names, qty=quantities, eta=st.none() | st.dates()),
    st.builds(ChangeBatchQuantity, batchref=names, qty=st.integers(0, 2**31 - 1)),
    st.builds(
        Allocate,
        orderid=names,
        sku=names,
        qty=quantities,
        wait=st.booleans(),
        priority=st.integers(0, 9),
        needed_by=st.none() | st.dates(),
    ),
    st.builds(Ship, orderid=names, sku=names, lineid=names | st.just("")),
    st.builds(ChangeLineQuantity, orderid=names, sku=names, qty=quantities, from_qty=st.none() | quantities),
    st.builds(Hold, orderid=names, sku=names, qty=quantities, until=st.datetimes(timezones=st.just(UTC))),
    st.builds(ChangeBatchEta, batchref=names, eta=st.none() | st.dates()),
)


@given(commands)
def test_a_command_that_was_encoded_is_read_back_equal(command: Command) -> None:
    assert read_command(command.TYPE, encode(command)) == command


EDGES = ["o", "2026-02-30", 1, "2026-02-28T12:00:00Z"]
FIELDS = ("orderid", "sku", "qty", "lineid", "batchref", "eta", "wait", "priority", "needed_by", "from_qty", "until")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(EDGES),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
near_misses = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values)).map(
    lambda body: json.dumps(body).encode()
)


def outcome(type_: str, body: bytes) -> Command | ContractError:
    try:
        return read_command(type_, body)
    except ContractError as violation:
        return violation


@given(st.sampled_from([*COMMANDS, "allocate.v2"]), st.binary() | near_misses)
@example("allocate.v1", b"[" * 65_000)
@example("allocate.v1", b"x" * 200_000)
def test_any_bytes_are_a_command_or_a_contract_violation(type_: str, body: bytes) -> None:
    result = outcome(type_, body)
    if isinstance(result, ContractError):
        assert result.detail.isprintable()
        assert len(result.detail) < 300
    else:
        assert type(result) is COMMANDS[type_]
