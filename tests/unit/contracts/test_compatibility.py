"""Incompatible changes of the contract are refused with a remedy, and compatible ones pass."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import compatibility
from tools.compatibility import breaks, contract, main

RELEASED = Path(__file__).parents[3] / "contracts" / "released"
Change = Callable[[dict[str, Any]], object]


def command(contract: dict[str, Any], type_: str = "allocate.v1") -> dict[str, Any]:
    message: dict[str, Any] = contract["commands"]["messages"][type_]
    return message


def event(contract: dict[str, Any], type_: str = "allocated.v1") -> dict[str, Any]:
    message: dict[str, Any] = contract["events"]["messages"][type_]
    return message


def fields(message: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = message["body"]["properties"]
    return properties


def changed(change: Change) -> list[str]:
    now = copy.deepcopy(contract())
    change(now)
    return breaks(contract(), now)


BREAKS: dict[str, tuple[Change, str]] = {
    "a command's field must be there now": (
        lambda now: command(now)["body"]["required"].append("lineid"),
        (
            'allocate.v1: "lineid" must be there now. Programs write it as it was. Undo it, or make it a type of its '
            "own beside this one, allocate.v2."
        ),
    ),
    "a new field of a command must be there": (
        lambda now: (
            fields(command(now)).update(colour={"type": "string"}),
            command(now)["body"]["required"].append("colour"),
        ),
        '"colour" must be there now',
    ),
    "a command's field is gone": (lambda now: fields(command(now)).pop("lineid"), '"lineid" is gone'),
    "a command's limit is narrower": (
        lambda now: fields(command(now))["qty"].update(maximum=100),
        'the maximum of "qty" was 2147483647 and is 100.',
    ),
    "a command's text is shorter": (lambda now: fields(command(now))["sku"].update(maxLength=20), "maxLength"),
    "a command's pattern is another": (lambda now: fields(command(now))["sku"].update(pattern="^[A-Z]+$"), "pattern"),
    "a command's type is another": (
        lambda now: fields(command(now))["qty"].update(type="string"),
        'the type of "qty" was "integer" and is "string".',
    ),
    "a command's field may not be null any more": (
        lambda now: fields(command(now, "create-batch.v1"))["eta"]["anyOf"].pop(),
        'create-batch.v1: the anyOf of "eta"',
    ),
    "a command's default is another": (
        lambda now: fields(command(now))["lineid"].update(default="1"),
        '"lineid" meant "" when left out, and means "1".',
    ),
    "a command's fields are enumerated": (
        lambda now: fields(command(now))["sku"].update(enum=["A"]),
        'the enum of "sku" was nothing and is ["A"].',
    ),
    "unknown fields of a command are refused": (
        lambda now: command(now)["body"].update(additionalProperties=False),
        "the additionalProperties of the body was true and is false.",
    ),
    "a command has another routing key": (
        lambda now: command(now).update(routing_key="order.allocate"),
        "allocate.v1: its routing key was allocate and is order.allocate.",
    ),
    "a command has another queue": (lambda now: command(now).update(queue="q"), "its queue was allocation.orders"),
    "a command is gone": (lambda now: now["commands"]["messages"].pop("allocate.v1"), "allocate.v1 is gone: keep it"),
    "a property of commands is required": (
        lambda now: now["commands"]["properties"]["required"].append("correlation_id"),
        'The properties of commands: "correlation_id" must be there now.',
    ),
    "an event's field is gone": (
        lambda now: (fields(event(now)).pop("eta"), event(now)["body"]["required"].remove("eta")),
        (
            'allocated.v1: "eta" is gone, and is relied on. Undo it, or make it a type of its own beside this one, '
            "allocated.v2."
        ),
    ),
    "an event's field may be left out": (
        lambda now: event(now)["body"]["required"].remove("batchref"),
        '"batchref" may be left out now.',
    ),
    "an event's limit is wider": (
        lambda now: fields(event(now))["qty"].update(maximum=2**40),
        'the maximum of "qty" was 2147483647 and is 1099511627776. Programs read it as it was.',
    ),
    "an event's limit is lifted": (lambda now: fields(event(now))["qty"].pop("minimum"), 'the minimum of "qty" was 1'),
    "an event's field may be null": (
        lambda now: fields(event(now)).update(batchref={"anyOf": [fields(event(now))["batchref"], {"type": "null"}]}),
        'the anyOf of "batchref"',
    ),
    "an event's reason is no slug": (
        lambda now: fields(event(now, "deallocated.v1"))["reason"].pop("pattern"),
        'deallocated.v1: the pattern of "reason"',
    ),
    "an event's type is another": (lambda now: fields(event(now))["qty"].update(type="number"), 'the type of "qty"'),
    "an event has another routing key": (
        lambda now: event(now).update(routing_key="line.allocated"),
        "allocated.v1: its routing key was allocated and is line.allocated.",
    ),
    "an event is gone": (lambda now: now["events"]["messages"].pop("allocated.v1"), "allocated.v1 is gone: keep it"),
    "a property of events may be left out": (
        lambda now: now["events"]["properties"]["required"].remove("causation_id"),
        'The properties of events: "causation_id" may be left out now.',
    ),
    "an exchange has another name": (
        lambda now: now["names"].update(EVENTS_EXCHANGE="events"),
        "The name EVENTS_EXCHANGE was allocation.events and is events",
    ),
}

HARMLESS: dict[str, Change] = {
    "nothing": lambda _now: None,
    "a command has a new field that may be left out": lambda now: fields(command(now)).update(
        colour={"type": "string", "default": "red", "maxLength": 10}
    ),
    "a command's field may be left out now": lambda now: command(now)["body"]["required"].remove("qty"),
    "a command's limit is wider": lambda now: fields(command(now))["qty"].update(maximum=2**40),
    "a command's field may be null now": lambda now: fields(command(now)).update(
        sku={"anyOf": [fields(command(now))["sku"], {"type": "null"}]}
    ),
    "an event has a new field": lambda now: (
        fields(event(now)).update(warehouse={"type": "string"}),
        event(now)["body"]["required"].append("warehouse"),
    ),
    "an event's limit is narrower": lambda now: fields(event(now))["qty"].update(maximum=100),
    "an event's reasons are fewer": lambda now: fields(event(now, "deallocated.v1"))["reason"].update(
        enum=["cancelled"]
    ),
    "words are others": lambda now: (
        fields(command(now))["qty"].update(description="?"),
        event(now)["body"].update(description="?", title="?"),
    ),
    "a new type stands beside the old one": lambda now: now["commands"]["messages"].update(
        {"allocate.v2": {**command(now), "body": {"type": "object", "required": ["everything"]}}}
    ),
}


@pytest.mark.parametrize(("change", "sentence"), BREAKS.values(), ids=BREAKS)
def test_is_refused_when(change: Change, sentence: str) -> None:
    found = changed(change)
    assert len(found) == 1, found
    assert sentence in found[0]


def test_a_released_field_may_be_said_in_other_words_but_not_be_another() -> None:
    released = copy.deepcopy(contract())
    sku = fields(event(released))["sku"]
    sku["not"] = {"pattern": r"\n"}
    assert breaks(released, contract()) == []
    sku["not"] = {"pattern": "x"}
    assert len(breaks(released, contract())) == 1


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_passes_when(change: Change) -> None:
    assert changed(change) == []


def test_the_models_break_no_released_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(RELEASED)]) == 0, capsys.readouterr().err


def test_a_list_of_values_that_was_opened_by_decision_may_stay_open() -> None:
    released = contract()
    fields(event(released, "deallocated.v1"))["reason"] = {"enum": ["cancelled"], "type": "string"}
    assert breaks(released, contract()) == []


@pytest.mark.parametrize("now", [{"type": "string"}, {"enum": ["one", "two"], "type": "string"}])
def test_any_other_list_of_values_that_grows_is_a_break(now: dict[str, Any]) -> None:
    released, later = contract(), contract()
    fields(event(released))["batchref"] = {"enum": ["one"], "type": "string"}
    fields(event(later))["batchref"] = now
    [sentence] = breaks(released, later)
    assert 'allocated.v1: the enum of "batchref"' in sentence


def test_a_break_fails_the_command_and_names_the_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    released = contract()
    fields(command(released))["qty"]["maximum"] *= 2
    (tmp_path / "0.0.1.json").write_text(json.dumps(released))
    assert main(["check", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith('0.0.1: allocate.v1: the maximum of "qty" was 4294967294 and is 2147')


def test_without_a_released_version_the_command_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 1
    assert "nothing was compared" in capsys.readouterr().err


def test_a_version_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compatibility, "version", lambda _name: "7.8.9")
    assert main(["keep", str(tmp_path / "released")]) == 0
    kept = tmp_path / "released" / "7.8.9.json"
    assert json.loads(kept.read_text("utf-8")) == contract()
    assert main(["keep", str(tmp_path / "released")]) == 1
    assert "what was released stays" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "released")]) == 0


def test_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["burn", "it"]) == 2
    assert "check|keep" in capsys.readouterr().err
