"""Copies of a message, for the retry queues, for the dead letters, and back from there.

A copy must not carry what makes the broker act again: the death history (3.x reads a cycle from it), the CC and BCC
headers (more destinations), an expiration (a shorter delay, a lost dead letter) and a user_id (only its owner may
publish with it). The last four are kept under other names.

All properties of a message are sent in one frame. What does not fit into the connection's frame size is cut: first the
original headers, which are then carried as text, then the reason's details.
"""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pika.spec import BasicProperties

from allocation_contracts.amqp.lenient import UndecodableProperties
from allocation_contracts.names import TRACEPARENT_HEADER, TRACESTATE_HEADER
from allocation_worker.adapters.rabbitmq.delivery import ATTEMPTS_HEADER, Delivery
from allocation_worker.adapters.rabbitmq.replacing_names import MOVED_FROM_HEADER
from allocation_worker.service_layer.outcomes import DeadLettered, Retry

REASON_HEADER = "x-reason"
ORIGINAL_PROPERTIES_HEADER = "x-original-properties"
"""The encoded properties of a message whose headers cannot be decoded."""

DEFAULT_FRAME_MAX = 131_072

# The header and the end of a frame, and what stands before the properties.
_FRAME_OVERHEAD = 32

_COUNTS = ("x-delivery-count", "x-acquired-count")
_BROKERS_OWN = ("x-death", *_COUNTS)
_BROKERS_OWN_PREFIXES = ("x-first-death-", "x-last-death-")
_RENAMED = {"CC": "x-original-cc", "BCC": "x-original-bcc"}
_ORIGINAL_HEADERS = "x-original-headers"

_ADDED = frozenset(
    {
        REASON_HEADER,
        "x-detail",
        "x-exception",
        ATTEMPTS_HEADER,
        "x-original-queue",
        "x-failed-at",
        "x-original-expiration",
        "x-original-user-id",
        _ORIGINAL_HEADERS,
        ORIGINAL_PROPERTIES_HEADER,
        *_RENAMED.values(),
    }
)
"""What this module adds to a message's own headers."""

_MAX_ORIGINAL = 16_384
_DETAIL_LIMITS = (2_048, 512, 128, 32)


def retry_copy(delivery: Delivery, outcome: Retry, frame_max: int) -> BasicProperties:
    """Return the properties of the copy that comes back after a delay."""
    return _copy(_original(delivery), {ATTEMPTS_HEADER: outcome.attempts}, frame_max)


def dead_letter_copy(delivery: Delivery, outcome: DeadLettered, frame_max: int) -> BasicProperties:
    """Return the properties of the copy for the dead letters: the original's, and why it is there."""
    added = {
        REASON_HEADER: outcome.reason,
        "x-detail": outcome.detail,
        ATTEMPTS_HEADER: outcome.attempts,
        "x-original-queue": delivery.queue,
        "x-failed-at": datetime.now(UTC).isoformat(),
    }
    if outcome.exception is not None:
        added["x-exception"] = outcome.exception
    raw = delivery.properties.raw if isinstance(delivery.properties, UndecodableProperties) else None
    return _copy(_original(delivery), added, frame_max, raw)


def redriven_copy(properties: BasicProperties, frame_max: int) -> BasicProperties:
    """Return the properties with which a dead letter becomes a command again: those of the command that it was."""
    original = copy.copy(properties)
    original.headers = without_our_headers(properties.headers or {})
    return _copy(original, {}, frame_max)


def moved_copy(properties: BasicProperties, moved_from: str | None, frame_max: int) -> BasicProperties:
    """Return the properties of a message that is moved to another queue: its own, and where it was published to.

    Args:
        properties: Its properties.
        moved_from: The exchange that it was published to; None to leave what its headers say of that.
        frame_max: The size of a frame. A message whose headers leave no room loses the exchange.
    """
    moved = copy.copy(properties)
    moved.headers = {name: value for name, value in (moved.headers or {}).items() if name not in _COUNTS}
    if moved.user_id is not None:
        moved.headers["x-original-user-id"] = moved.user_id
        moved.user_id = None
    if moved_from is not None:
        moved.headers[MOVED_FROM_HEADER] = moved_from
        if _size(moved) > frame_max - _FRAME_OVERHEAD:
            del moved.headers[MOVED_FROM_HEADER]
    return moved


def without_our_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dead letter's headers less those that the worker and the broker have added."""
    return {name: value for name, value in headers.items() if name not in _ADDED and _kept(name)}


def _original(delivery: Delivery) -> BasicProperties:
    """Return the delivery's properties, without headers of our names that we have not set."""
    properties = delivery.properties
    if delivery.retried or not properties.headers or _ADDED.isdisjoint(properties.headers):
        return properties
    original = copy.copy(properties)
    original.headers = {name: value for name, value in properties.headers.items() if name not in _ADDED}
    return original


def _copy(
    original: BasicProperties, added: dict[str, Any], frame_max: int, raw: bytes | None = None
) -> BasicProperties:
    properties = copy.copy(original)
    if properties.expiration is not None:
        added["x-original-expiration"] = properties.expiration
        properties.expiration = None
    if properties.user_id is not None:
        added["x-original-user-id"] = properties.user_id
        properties.user_id = None
    headers = original.headers or {}
    kept = {_RENAMED.get(name, name): value for name, value in headers.items() if _kept(name)}
    properties.headers = kept | _cut(added, _DETAIL_LIMITS[0])
    # A twelfth is left free: the broker adds headers of its own, such as the death history.
    room = frame_max * 11 // 12
    if raw is not None:
        _fill(properties, added, room, ORIGINAL_PROPERTIES_HEADER, raw)
    elif _size(properties) > room:
        _fill(properties, added | _trace(headers), room, _ORIGINAL_HEADERS, _as_text(headers))
    return properties


def _kept(name: object) -> bool:
    return name not in _BROKERS_OWN and not (isinstance(name, str) and name.startswith(_BROKERS_OWN_PREFIXES))


def _fill(properties: BasicProperties, added: Mapping[str, Any], room: int, name: str, original: str | bytes) -> None:
    """Set the headers to the added ones, and to as much of the original ones as there is room for."""
    for limit in _DETAIL_LIMITS:
        headers = {name: original[:0], **_cut(added, limit)}
        properties.headers = headers
        left = room - _size(properties)
        if left > room // 4:
            break
    headers[name] = _first_bytes(original, int(max(0, left)))


def _size(properties: BasicProperties) -> float:
    try:
        return sum(map(len, properties.encode()))
    except Exception:  # noqa: BLE001 - pika may refuse to encode what it has decoded, with a dozen kinds of errors
        return float("inf")


def _as_text(headers: Mapping[str, Any]) -> str:
    try:
        return repr(headers)
    except Exception:  # noqa: BLE001 - nested too deep, or a number too long
        return f"(cannot be shown: {len(headers)} headers)"


def _trace(headers: Mapping[str, Any]) -> dict[str, str]:
    names = (TRACEPARENT_HEADER, TRACESTATE_HEADER)
    return {name: headers[name] for name in names if isinstance(headers.get(name), str)}


def _cut(headers: Mapping[str, Any], limit: int) -> dict[str, Any]:
    return {name: _fit(value, limit) if isinstance(value, str) else value for name, value in headers.items()}


def _fit(text: str, limit: int) -> str:
    # JSON may contain lone surrogates, which UTF-8 cannot encode.
    printable = text.encode(errors="replace").decode()
    return printable if len(printable) <= limit else f"{printable[: limit - 1]}…"


def _first_bytes(value: str | bytes, limit: int) -> str | bytes:
    if isinstance(value, bytes):
        return value[:limit]
    encoded = _fit(value, _MAX_ORIGINAL).encode()
    return encoded[:limit].decode(errors="ignore")
