"""The JSON Schemas in contracts/schemas agree with the validators."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from allocation_contracts import COMMANDS, EVENTS, ContractError, read_command, read_event
from tools.schemas import files, main

DIRECTORY = Path(__file__).parents[2] / "contracts" / "schemas"
LINE: dict[str, Any] = {"orderid": "order-1", "sku": "SMALL-TABLE", "lineid": ""}

VALID: dict[str, dict[str, Any]] = {
    "allocate.v1": {**LINE, "qty": 10},
    "deallocate.v1": LINE,
    "create-batch.v1": {"batchref": "batch-1", "sku": "SMALL-TABLE", "qty": 10, "eta": "2026-02-28"},
    "change-batch-quantity.v1": {"batchref": "batch-1", "qty": 0},
    "ship.v1": {**LINE},
    "change-line-quantity.v1": {**LINE, "qty": 3, "from_qty": 4},
    "hold.v1": {**LINE, "qty": 3, "until": "2026-02-28T12:00:00Z"},
    "change-batch-eta.v1": {"batchref": "batch-1", "eta": None},
    "allocated.v1": {**LINE, "qty": 10, "batchref": "batch-1", "eta": None, "sequence": 1},
    "out-of-stock.v1": {**LINE, "qty": 10, "largest_available": 0, "next_eta": "2026-02-28", "sequence": 2},
    "backordered.v1": {**LINE, "qty": 10, "largest_available": 9, "next_eta": None, "sequence": 2},
    "promise-changed.v1": {
        **LINE,
        "qty": 10,
        "batchref": "batch-1",
        "eta": None,
        "previous_eta": "2026-02-28",
        "sequence": 2,
    },
    "held.v1": {
        **LINE,
        "qty": 10,
        "batchref": "batch-1",
        "eta": None,
        "until": "2026-02-28T12:00:00.5Z",
        "sequence": 2,
    },
    "hold-lapsed.v1": {**LINE, "qty": 10, "batchref": "batch-1", "sequence": 2},
    "shipped.v1": {**LINE, "qty": 10, "batchref": "batch-1", "sequence": 2},
    "line-quantity-changed.v1": {
        **LINE,
        "qty": 3,
        "previous_qty": 4,
        "batchref": None,
        "eta": None,
        "sequence": 2,
    },
    "batch-eta-changed.v1": {"batchref": "b", "sku": "s", "eta": "2026-02-28", "previous_eta": None, "sequence": 3},
    "deallocated.v1": {**LINE, "qty": 10, "batchref": None, "reason": "cancelled", "sequence": 2**63 - 1},
    "batch-created.v1": {"batchref": "batch-1", "sku": "SMALL-TABLE", "qty": 10, "eta": None, "sequence": 1},
    "batch-quantity-changed.v1": {"batchref": "b", "sku": "s", "qty": 0, "previous_qty": 5, "sequence": 3},
    "command-rejected.v1": {
        "command": "allocate.v1",
        "reason": "unknown-sku",
        "detail": "No batch of SMALL-TABLE is known.",
        "data": {"orderid": "order-1", "more": [1, None]},
    },
}

# One list for all fields: what suits one kind of field is wrong for another, and both sides must say so alike. 1.0 is
# not here, for JSON Schema calls it an integer; nor are lone surrogates, which are no text to it at all.
VALUES: list[object] = [
    *(None, True, False, 0, 1, -5, 1.5, 2**31 - 1, 2**31, 2**63 - 1, 2**63, "1", "", [], [1], {}, {"a": 1}),
    *(" ", " a", "a ", "a b", "a\n", "a\tb", "\0", "\x7f", "a\x85", "\u2028", "\u00a0a", "a\u3000", "\ufeff", "\u200b"),
    *("x" * 255, "x" * 256, "x" * 2_000, "x" * 2_001, "\N{GRINNING FACE}" * 255, "\N{GRINNING FACE}" * 256),
    *(
        "2026-02-28",
        "2026-02-30",
        "2028-02-29",
        "2100-02-29",
        "2026-13-01",
        "0000-01-01",
        "2026-W01-1",
        "20260228",
        "2026-02-28\n",
        "2026-02-28T00:00:00",
        "2026-02-28T00:00:00Z",
        "2026-02-28T23:59:59.123456+00:00",
        "2026-02-28T23:59:59.1234567Z",
        "2026-02-28T23:59:59.Z",
        "2026-02-28T23:59:60Z",
        "2026-02-28T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "2028-02-29T00:00:00Z",
        "2026-02-28T00:00:00+01:00",
        "2026-02-28t00:00:00z",
        "2026-02-28 00:00:00Z",
        "2026-02-28T00:00:00Z\n",
        "20260228T000000Z",
        "\u0662026-02-28",
    ),
    *("cancelled", "batch-quantity-changed", "unknown-sku", "unknown-sku\n", "-a", "a--b", "Unknown SKU"),
]


def pattern(validator: Any, regex: str, value: object, schema: object) -> Iterator[ValidationError]:
    """As in ECMA-262, which JSON Schema names: there, `$` lets no newline follow."""
    del validator, schema
    if isinstance(value, str) and not re.search(regex.replace("$", r"\Z"), value):
        yield ValidationError(f"{value!r} does not match {regex!r}")


Validator = extend(Draft202012Validator, {"pattern": pattern})  # type: ignore[no-untyped-call]


def by_schema(type_: str, body: object) -> bool:
    return bool(Validator(json.loads((DIRECTORY / f"{type_}.json").read_text("utf-8"))).is_valid(body))


def by_validator(type_: str, body: object) -> bool:
    try:
        (read_command if type_ in COMMANDS else read_event)(type_, json.dumps(body).encode())
    except ContractError:
        return False
    return True


@pytest.mark.parametrize("name", files())
def test_the_schema_in_the_tree_is_the_models(name: str) -> None:
    path = DIRECTORY / name
    current = path.read_text("utf-8") if path.exists() else ""
    assert current == files()[name], f"contracts/schemas/{name} is not what the models say: run `make schemas`"


def test_no_schema_is_left_over_from_a_message_that_is_gone() -> None:
    left_over = {path.name for path in DIRECTORY.iterdir()} - set(files())
    assert not left_over, f"no message has the schemas {left_over}: remove them, then run `make schemas`"


def test_every_message_has_a_sample_here() -> None:
    assert set(VALID) == {*COMMANDS, *EVENTS}


@pytest.mark.parametrize("name", files())
def test_each_is_a_documented_schema_without_an_absolute_id(name: str) -> None:
    schema = json.loads((DIRECTORY / name).read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == name
    assert schema["title"] == {**COMMANDS, **EVENTS}[name.removesuffix(".json")].__name__
    assert schema["description"]
    assert all(field["description"] for field in schema["properties"].values())
    assert "additionalProperties" not in schema


@pytest.mark.parametrize("type_", VALID)
def test_both_take_a_valid_body_with_unknown_fields(type_: str) -> None:
    body = {**VALID[type_], "unknown": {"field": 1}}
    assert by_schema(type_, body)
    assert by_validator(type_, body)


@pytest.mark.parametrize(("type_", "field"), [(type_, field) for type_, body in VALID.items() for field in body])
def test_both_say_the_same_of_every_value_in_every_field(type_: str, field: str) -> None:
    bodies = [{**VALID[type_], field: value} for value in VALUES]
    verdicts = [by_validator(type_, body) for body in bodies]
    assert [by_schema(type_, body) for body in bodies] == verdicts
    assert set(verdicts) == {True, False}


@pytest.mark.parametrize(("type_", "field"), [(type_, field) for type_, body in VALID.items() for field in body])
def test_both_say_the_same_of_a_missing_field(type_: str, field: str) -> None:
    body = {name: value for name, value in VALID[type_].items() if name != field}
    assert by_schema(type_, body) == by_validator(type_, body)


@pytest.mark.parametrize("body", [None, 1, "text", [], [{}]])
def test_both_refuse_what_is_not_an_object(body: object) -> None:
    assert not by_schema("allocate.v1", body)
    assert not by_validator("allocate.v1", body)


def test_writes_the_same_files_every_time(tmp_path: Path) -> None:
    assert main([str(tmp_path / "schemas")]) == 0
    assert {path.name: path.read_text("utf-8") for path in (tmp_path / "schemas").iterdir()} == files()


def test_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: " in capsys.readouterr().err
