import json
from typing import Any

import pytest
from pika.spec import BasicProperties

from allocation_contracts.amqp.lenient import UndecodableProperties
from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.cli.dead_letter_views import letter_json, letter_line, next_step, plain, story


def letter(body: bytes, properties: BasicProperties | None = None, **fields: Any) -> HeldDeadLetter:
    return HeldDeadLetter(
        tag=1,
        exchange="allocation.dead-letters",
        routing_key="allocate",
        properties=properties or BasicProperties(**fields),
        body=body,
    )


def shown(found: HeldDeadLetter) -> str:
    return "\n".join(story(found))


def test_a_message_cannot_move_the_cursor() -> None:
    assert plain("a\x1b[2Jb\nc\u2028é") == "a\\u001b[2Jb\\nc\\u2028é"


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b'{"sku":"A"}', '    "sku": "A"'),
        (b'{"sku":"A"', '  {"sku":"A"'),
        (b'{"a":NaN}\x1b', '  {"a":NaN}\\u001b'),
        (b"\xff\xfe{\0", "  ff fe 7b 00"),
        (b"x" * 30_000, "... and 10,000 more characters; --json gives all of it."),
    ],
)
def test_a_body_is_shown_as_what_it_is(body: bytes, part: str) -> None:
    assert part in shown(letter(body))


def test_whatever_stands_in_it_fits_into_json() -> None:
    found = letter(b"\xff", message_id=b"\xff", headers={"x": b"\xfe", b"\xfd": 1, "deep": [{b"\xfc": None}]})
    whole = json.loads(letter_json(found, whole=True))
    assert whole["body_base64"] == "/w=="
    assert whole["headers"] == {"x": "b'\\xfe'", "b'\\xfd'": 1, "deep": [{"b'\\xfc'": None}]}
    assert json.loads(letter_json(found))["id"] == found.id
    assert "  unknown                  " in letter_line(found)
    assert "(no type)" in letter_line(found)
    assert "b'\\xfd': 1" in shown(found)


def test_the_time_of_death_has_its_zone() -> None:
    headers = {"x-failed-at": "2026-11-26T13:00:00+01:00", "x-reason": "handler-failed"}
    assert "  2026-11-26 12:00:00 UTC  handler-failed  " in letter_line(letter(b"{}", headers=headers))


def test_headers_that_cannot_be_decoded_are_shown_as_bytes() -> None:
    raw = b"\x20\x80" + (6).to_bytes(4, "big") + b"\x01hT\xff\xff\xff" + b"\x03m-1"
    found = letter(b"{}", UndecodableProperties(raw, OverflowError("too late")))
    assert found.properties.message_id == "m-1"
    assert found.reason == "undecodable-headers"
    assert "OverflowError: too late" in shown(found)
    assert raw.hex(" ") in shown(found)


@pytest.mark.parametrize("reason", ["invalid-json", "missing-type", "body-too-large"])
def test_a_broken_contract_is_for_the_sender_to_correct(reason: str) -> None:
    assert "have its sender correct it" in next_step(reason)


def test_a_type_that_an_older_version_did_not_know_is_redriven_and_not_discarded() -> None:
    assert "redrive it once no older version runs" in next_step("unknown-type")


def test_headers_that_are_nested_too_deep_do_not_hide_the_rest() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200_000):
        deep = {"a": deep}
    found = letter(b"{}", message_id="m", headers={"h": deep, "other": 1})
    assert json.loads(letter_json(found, whole=True))["headers"] == "(nested too deep to be shown)"
    assert "  h: (cannot be shown: RecursionError)\n  other: 1" in shown(found)
