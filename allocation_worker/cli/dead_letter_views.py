"""Formats dead letters as text for a terminal, or as JSON."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from allocation_contracts import ContractError, strict_json
from allocation_contracts.amqp.lenient import UNDECODABLE
from allocation_contracts.printable import printable
from allocation_worker.adapters.rabbitmq.dead_letter import UNROUTABLE, HeldDeadLetter
from allocation_worker.service_layer.dead_letters import By, Group

_SHOWN_DETAIL = 100
_SHOWN_BODY = 20_000
_HEX_BYTES_A_LINE = 32
_LEAST_VALUE = 26
_WIDEST_VALUE = 40

_ASK_THE_SENDER = "It breaks the contract: have its sender correct it and send it again, then discard this one."
_NEXT_STEPS: Mapping[str, str] = {
    "message-id-conflict": "Have its sender send it under an id of its own, then discard this one.",
    "unknown-type": "If the type is one of this version, an older one met it during an upgrade: redrive it once no "
    "older version runs. Otherwise have its sender correct it and send it again, then discard this one.",
    "wrong-queue": "Have its sender use the routing key that belongs to its type. If the sender may send it, redrive "
    "sends it where its type says.",
    "handler-failed": "Fix the cause, see what would happen with `redrive --dry-run`, then redrive it.",
    "delivery-limit": "Look in the logs of `consume` for processes that ended at that time. If this message did not "
    "end them, or the fault is fixed, redrive it; if it crashes the worker, have it sent differently and discard it.",
    "expired": "Redrive it if it is still wanted; a redriven copy does not expire.",
    UNROUTABLE: "Have its sender use the routing key that belongs to its type. If its type is one of ours, redrive "
    "sends it where its type says.",
    UNDECODABLE: "Redrive it: the copy is sent without its headers, which the worker does not need. Have its sender "
    "correct them.",
}
_BREAKS_THE_CONTRACT = (
    "invalid-", "missing-", "unknown-type", "unsupported-content-type", "body-too-large", "compressed-body",
)  # fmt: skip


def plain(value: object) -> str:
    """Return a value on one line."""
    return printable(str(value) if isinstance(value, str | int) else repr(value))


def when(moment: datetime | None) -> str:
    """Return a time in UTC, to the second."""
    return "unknown" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def group_lines(groups: Sequence[Group], by: By) -> Iterator[str]:
    """Yield one line about each group, below a heading."""
    values = ["(none)" if group.value is None else plain(group.value) for group in groups]
    width = min(_WIDEST_VALUE, max([_LEAST_VALUE, *map(len, values)]))
    yield f"{'count':>9}  {_name(by):<{width}}  {'oldest (UTC)':<19}  {'newest (UTC)':<19}  for example"
    for group, value in zip(groups, values, strict=True):
        times = f"{when(group.oldest):<19}  {when(group.newest):<19}"
        yield f"{group.count:>9,}  {value:<{width}}  {times}  {_short(group.example)}"


def group_json(group: Group, by: By) -> str:
    """Return a group as one line of JSON."""
    moments = {"oldest": _iso(group.oldest), "newest": _iso(group.newest)}
    return json.dumps({_name(by): group.value, "count": group.count, **moments, "example": group.example})


def _name(by: By) -> str:
    return by.replace("-", "_")


def letter_line(letter: HeldDeadLetter) -> str:
    """Return one line about a dead letter."""
    type_ = "(no type)" if letter.properties.type is None else plain(letter.properties.type)
    message_id = "(no message_id)" if letter.message_id is None else plain(letter.message_id)
    why = letter.detail if letter.exception is None else f"{letter.detail} {letter.exception}"
    died = when(letter.failed_at) if letter.failed_at is None else f"{when(letter.failed_at)} UTC"
    return f"{letter.id}  {died:<23}  {plain(letter.reason)}  {type_}  {message_id}  {_short(why)}"


def letter_json(letter: HeldDeadLetter, *, whole: bool = False) -> str:
    """Return a dead letter as one line of JSON.

    Args:
        letter: The dead letter.
        whole: Whether to include its properties, headers and body.
    """
    shown: dict[str, Any] = {
        "id": letter.id,
        "type": letter.properties.type,
        "message_id": letter.properties.message_id,
        "reason": letter.reason,
        "failed_at": _iso(letter.failed_at),
        "detail": letter.detail,
        "exception": letter.exception,
        "queue": letter.queue,
    }
    if whole:
        shown |= {
            "attempts": letter.failed_attempts,
            "routing_key": letter.routing_key,
            "properties": letter.properties_by_name(),
            "headers": _json_headers(letter),
            "body_base64": base64.b64encode(letter.body).decode(),
        }
    return json.dumps(shown, default=_json_default)


def story(letter: HeldDeadLetter) -> Iterator[str]:
    """Yield the lines that show a dead letter in full, with the next step for the operator."""
    yield f"Dead letter {letter.id}: {plain(letter.reason)}"
    yield f"  {plain(letter.detail)}"
    if letter.exception is not None:
        yield f"  {plain(letter.exception)}"
    attempts = letter.failed_attempts or 1
    yield f"  died (UTC): {when(letter.failed_at)}; queue: {letter.queue or 'none'}; attempts: {attempts}"
    yield ""
    yield "Properties"
    yield f"  routing key: {plain(letter.routing_key)}"
    for name, value in letter.properties_by_name().items():
        yield f"  {name}: {plain(value)}"
    yield from _headers(letter)
    yield ""
    yield f"Body, {len(letter.body):,} bytes"
    yield from (f"  {line}" for line in _body(letter.body))
    yield ""
    yield "What to do"
    yield f"  {next_step(letter.reason)}"
    yield f"  allocation-worker dead-letters redrive {letter.id} --dry-run"
    yield f"  allocation-worker dead-letters discard {letter.id}"


def next_step(reason: str) -> str:
    """Return one or two sentences that tell the operator what to do about this reason."""
    if reason.startswith(_BREAKS_THE_CONTRACT) and reason not in _NEXT_STEPS:
        return _ASK_THE_SENDER
    return _NEXT_STEPS.get(reason, "See what would happen with `redrive --dry-run`.")


def _headers(letter: HeldDeadLetter) -> Iterator[str]:
    yield ""
    yield "Headers"
    if letter.undecodable is not None:
        yield "  The headers that it was sent with cannot be decoded. All its properties, as bytes:"
        yield from (f"  {line}" for line in _hex(letter.undecodable))
    shown = {plain(name): _shown_header(value) for name, value in (letter.properties.headers or {}).items()}
    for name in sorted(shown):
        yield f"  {name}: {shown[name]}"


def _shown_header(value: object) -> str:
    try:
        return plain(value)
    except (RecursionError, ValueError) as error:
        return f"(cannot be shown: {type(error).__name__})"


def _body(body: bytes) -> Iterator[str]:
    try:
        text = json.dumps(strict_json.read(body), indent=2, ensure_ascii=False)
    except ContractError:
        yield from _raw_body(body)
    else:
        yield from map(plain, text.splitlines())


def _raw_body(body: bytes) -> Iterator[str]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        yield from _hex(body)
        return
    yield plain(text[:_SHOWN_BODY])
    if len(text) > _SHOWN_BODY:
        yield f"... and {len(text) - _SHOWN_BODY:,} more characters; --json gives all of it."


def _hex(data: bytes) -> Iterator[str]:
    shown = data[: _SHOWN_BODY // 2]
    for start in range(0, len(shown), _HEX_BYTES_A_LINE):
        yield shown[start : start + _HEX_BYTES_A_LINE].hex(" ")
    if len(data) > len(shown):
        yield f"... and {len(data) - len(shown):,} more bytes."


def _short(text: str) -> str:
    shown = plain(text)
    return shown if len(shown) <= _SHOWN_DETAIL else f"{shown[: _SHOWN_DETAIL - 1]}…"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _json_headers(letter: HeldDeadLetter) -> object:
    try:
        headers = _jsonable(letter.properties.headers or {})
        json.dumps(headers, default=_json_default)
    except RecursionError:
        return "(nested too deep to be shown)"
    return headers


def _jsonable(value: object) -> object:
    """Return the value with all names as text, since the name of a header may be bytes."""
    if isinstance(value, dict):
        return {name if isinstance(name, str) else repr(name): _jsonable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_jsonable(each) for each in value]
    return value


def _json_default(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
