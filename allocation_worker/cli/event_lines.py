"""Formats an event as one line: aligned text for a terminal, or JSON."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from rich.cells import cell_len

import allocation_contracts as contracts
from allocation_contracts import ContractError
from allocation_worker.bootstrap.tail import SeenEvent

_TYPE_WIDTH = max(map(len, contracts.EVENTS))
_SEQUENCE_WIDTH = 6
_SKU_WIDTH = 16
_SUBJECT_WIDTH = 16


def concerns(event: SeenEvent, *, order: str | None, sku: str | None) -> bool:
    """Return whether an event is about this order and this SKU.

    A `command-rejected` event is about the order and the SKU that its command names.

    Args:
        event: The event.
        order: An orderid; None for any.
        sku: A SKU; None for any.
    """
    data = _data(event)
    named = data.get("data", data) if event.properties.type == contracts.CommandRejected.TYPE else data
    return order in {None, named.get("orderid")} and sku in {None, named.get("sku")}


def as_json(event: SeenEvent) -> str:
    """Return one line of JSON with the body and the properties of an event."""
    return json.dumps(as_object(event), ensure_ascii=False)


def as_object(event: SeenEvent) -> dict[str, Any]:
    """Return the body and the properties of an event, for JSON."""
    properties = event.properties
    timestamp = _timestamp(event)
    return {
        "type": _text(properties.type),
        "message_id": _text(properties.message_id),
        "correlation_id": _text(properties.correlation_id),
        "causation_id": _text((properties.headers or {}).get(contracts.CAUSATION_ID_HEADER)),
        "timestamp": None if timestamp is None else datetime.fromtimestamp(timestamp, UTC).isoformat(),
        "body": _data(event),
    }


def as_text(event: SeenEvent) -> str:
    """Return one line: time in UTC, type, sequence, SKU, order or batch, and the change."""
    type_, timestamp = _text(event.properties.type), _timestamp(event)
    when = datetime.now(UTC) if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
    try:
        sequence, sku, subject, words = _told(contracts.read_event(type_, event.body))
    except ContractError:
        # A newer worker may publish types that this version does not know. Show their common fields.
        sequence, sku, subject, words = "", "", "", json.dumps(_data(event))
    columns = [
        f"{when:%H:%M:%SZ}",
        _padded(type_, _TYPE_WIDTH),
        f"{sequence:>{_SEQUENCE_WIDTH}}",
        _padded(sku, _SKU_WIDTH),
        _padded(subject, _SUBJECT_WIDTH),
        words,
    ]
    return "  ".join(columns).rstrip()


def _told(event: contracts.Event) -> tuple[str, str, str, str]:  # noqa: C901 - one for each event
    """Return the sequence, SKU, order or batch, and the change."""
    match event:
        case contracts.Allocated():
            words = f"{event.qty} from {event.batchref}, {_due(event.eta)}"
        case contracts.OutOfStock() | contracts.Backordered():
            due = "" if event.next_eta is None else f"; more on {event.next_eta}"
            words = f"{event.qty} wanted, {event.largest_available} to be had{due}"
        case contracts.Deallocated():
            held = "held nothing" if event.batchref is None else f"{event.qty} back to {event.batchref}"
            words = f"{held} ({event.reason})"
        case contracts.BatchCreated():
            return str(event.sequence), event.sku, event.batchref, f"{event.qty} {_due(event.eta)}"
        case contracts.BatchQuantityChanged():
            return str(event.sequence), event.sku, event.batchref, f"{event.previous_qty} -> {event.qty}"
        case contracts.BatchEtaChanged():
            words = f"{_due(event.previous_eta)} -> {_due(event.eta)}"
            return str(event.sequence), event.sku, event.batchref, words
        case contracts.PromiseChanged():
            words = f"{event.qty} from {event.batchref}, {_due(event.previous_eta)} -> {_due(event.eta)}"
        case contracts.Shipped():
            words = f"{event.qty} from {event.batchref}, shipped"
        case contracts.Held():
            words = f"{event.qty} from {event.batchref}, {_due(event.eta)}, until {event.until:%Y-%m-%d %H:%M:%S} UTC"
        case contracts.HoldLapsed():
            words = f"{event.qty} back to {event.batchref}"
        case contracts.LineQuantityChanged():
            held = "holds nothing" if event.batchref is None else f"from {event.batchref}, {_due(event.eta)}"
            words = f"{event.previous_qty} -> {event.qty}, {held}"
        case contracts.CommandRejected():
            named = event.data
            subject = str(named.get("orderid") or named.get("batchref") or "")
            return "", str(named.get("sku") or ""), subject, f"{event.reason}: {event.detail}"
    return str(event.sequence), event.sku, f"{event.orderid}/{event.lineid}".rstrip("/"), words


def _due(eta: date | None) -> str:
    return "in the warehouse" if eta is None else f"due {eta}"


def _padded(text: str, width: int) -> str:
    """Pad a text to a width in terminal cells; some characters take two."""
    return text + " " * (width - cell_len(text))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _timestamp(event: SeenEvent) -> int | None:
    timestamp = event.properties.timestamp
    return timestamp if isinstance(timestamp, int) else None


def _data(event: SeenEvent) -> Mapping[str, Any]:
    try:
        data = json.loads(event.body)
    except ValueError:
        data = None
    return data if isinstance(data, dict) else {"unreadable": event.body.decode(errors="replace")}
