"""The copies of a message that go to a retry queue or to the dead letters, or come back from there.

A copy must not carry what the broker would act upon once more: the death history (3.x reads a cycle out of it), the CC
and BCC headers (more destinations), an expiration (a shorter delay, a dead letter lost) or a user_id (only its owner
may publish under it). The last four are kept under other names.
"""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pika.spec import BasicProperties

from allocation_contracts.names import TRACEPARENT_HEADER
from allocation_worker.adapters.rabbitmq.delivery import ATTEMPTS_HEADER, Delivery
from allocation_worker.service_layer.outcomes import DeadLetter, Retry

_BROKERS_OWN = ("x-death", "x-delivery-count", "x-acquired-count")
_BROKERS_OWN_PREFIXES = ("x-first-death-", "x-last-death-")
_RENAMED = {"CC": "x-original-cc", "BCC": "x-original-bcc"}

_REASON = "x-reason"
_ADDED = frozenset(
    {
        _REASON,
        "x-detail",
        "x-exception",
        ATTEMPTS_HEADER,
        "x-original-queue",
        "x-failed-at",
        "x-original-headers",
        "x-original-expiration",
        "x-original-user-id",
        *_RENAMED.values(),
    }
)
"""What this module adds to a message's own headers."""

# The properties must fit one frame, which by default is 131,072 bytes; a worker's own headers are far smaller.
_MAX_PROPERTIES = 120_000
_MAX_SHOWN_HEADERS = 16_384
_MAX_DETAIL = 2_048


def retry_copy(delivery: Delivery, outcome: Retry) -> BasicProperties:
    """The properties of the copy that will come back after a delay."""
    return _copy(delivery.properties, {ATTEMPTS_HEADER: outcome.attempts})


def dead_letter_copy(delivery: Delivery, outcome: DeadLetter) -> BasicProperties:
    """The properties of the copy for the dead letters: the original's, and why it is there."""
    added = {
        _REASON: _fit(outcome.reason),
        "x-detail": _fit(outcome.detail),
        ATTEMPTS_HEADER: outcome.attempts,
        "x-original-queue": delivery.queue,
        "x-failed-at": datetime.now(UTC).isoformat(),
    }
    if outcome.exception is not None:
        added["x-exception"] = _fit(outcome.exception)
    return _copy(delivery.properties, added)


def redriven_copy(properties: BasicProperties) -> BasicProperties:
    """The properties of a dead letter's copy that is to be a command again: those of the command that it was."""
    original = copy.copy(properties)
    original.headers = without_our_headers(properties.headers or {})
    return _copy(original, {})


def without_our_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """A dead letter's headers less those that the worker and the broker have added."""
    return {name: value for name, value in headers.items() if name not in _ADDED and _kept(name)}


def _copy(original_properties: BasicProperties, added: dict[str, Any]) -> BasicProperties:
    properties = copy.copy(original_properties)
    if properties.expiration is not None:
        added["x-original-expiration"] = properties.expiration
        properties.expiration = None
    if properties.user_id is not None:
        added["x-original-user-id"] = properties.user_id
        properties.user_id = None
    original = original_properties.headers or {}
    properties.headers = {_RENAMED.get(name, name): value for name, value in original.items() if _kept(name)} | added
    if not _can_be_sent(properties):
        properties.headers = _shown(original) | added
    return properties


def _kept(name: object) -> bool:
    return name not in _BROKERS_OWN and not (isinstance(name, str) and name.startswith(_BROKERS_OWN_PREFIXES))


def _can_be_sent(properties: BasicProperties) -> bool:
    try:
        return sum(map(len, properties.encode())) <= _MAX_PROPERTIES
    except Exception:  # noqa: BLE001 - what pika has decoded it may still refuse to encode, in a dozen ways
        return False


def _shown(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers that cannot be sent on, as text; those that the worker itself goes by stay what they are."""
    try:
        text = repr(headers)
    except Exception:  # noqa: BLE001 - nested too deep, or a number too long
        text = f"(cannot be shown: {len(headers)} headers)"
    shown: dict[str, Any] = {"x-original-headers": _fit(text, _MAX_SHOWN_HEADERS)}
    traceparent = headers.get(TRACEPARENT_HEADER)
    if isinstance(traceparent, str):
        shown[TRACEPARENT_HEADER] = _fit(traceparent)
    return shown


def _fit(text: str, limit: int = _MAX_DETAIL) -> str:
    # Lone surrogates can come in by JSON, and go out by no means.
    printable = text.encode(errors="replace").decode()
    return printable if len(printable) <= limit else f"{printable[: limit - 1]}…"
