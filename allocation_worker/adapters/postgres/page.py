"""The text of a page: a line for each event, its fields separated by tabs.

Nothing in a field is a tab or a line feed: identifiers are printable, and JSON escapes control characters. The view
`events` reads the same text in SQL.
"""

from collections.abc import Sequence
from typing import NamedTuple

from allocation_worker.adapters import wire
from allocation_worker.service_layer.outgoing import OutgoingEvent

EVENTS_A_PAGE = 1000
CHARACTERS_A_PAGE = 262_144
"""A page that is larger takes no further event, so a page needs little memory."""

PLACES = 8192
"""The id of an event is `page * PLACES + place`, from place 0 on."""

_REPEATED = "r"
_TRACESTATE = "="
_TABS = 7


class StoredEvent(NamedTuple):
    """An event as it is written.

    Attributes:
        message_id: The event's own.
        type: Such as `allocated.v1`.
        body: JSON.
        causation_id: The message_id of the command.
        correlation_id: The conversation.
        traceparent: The command's, if it had one.
        repeated: Whether it was announced before.
        tracestate: What belongs to the traceparent.
    """

    message_id: str
    type: str
    body: str
    causation_id: str
    correlation_id: str
    traceparent: str | None
    repeated: bool
    tracestate: str | None = None


def line(event: StoredEvent) -> str:
    """Return the line of an event."""
    message_id, type_, body, causation_id, correlation_id, traceparent, repeated, tracestate = event
    correlation = "" if correlation_id == causation_id else correlation_id
    trace = "" if traceparent is None else f"={traceparent}"
    mark = _REPEATED if repeated else ""
    if tracestate is not None:
        # Not beside the traceparent: programs of revision 0004 pay no heed to what stands here.
        mark += f"{_TRACESTATE}{tracestate}"
    # A random id cannot be compressed, so its hyphens are left out.
    hex_ = message_id.replace("-", "")
    # The empty field is the time, which only moved events have of their own.
    return f"{hex_}\t{type_}\t{causation_id}\t{correlation}\t{trace}\t{mark}\t\t{body}"


def text(lines: Sequence[str]) -> str:
    """Return the text of a page.

    Raises:
        ValueError: A field holds a tab or a line feed.
    """
    joined = "\n".join(lines)
    if joined.count("\t") != _TABS * len(lines) or joined.count("\n") != len(lines) - 1:
        raise ValueError("A field of an event has a tab or a line feed in it, and cannot be stored.")
    return joined


def outgoing(line: str, id_: int, page: int | None, timestamp: int) -> OutgoingEvent:
    """Return the event of a line.

    Args:
        line: The line.
        id_: The event's id.
        page: The page that is being published; None for an event by itself.
        timestamp: Seconds since the epoch, for an event that has no time of its own.
    """
    hex_, type_, causation_id, correlation_id, traceparent, mark, microseconds, body = line.split("\t", _TABS)
    return OutgoingEvent(
        id_,
        page,
        wire.routing_key(type_),
        body.encode(),
        f"{hex_[:8]}-{hex_[8:12]}-{hex_[12:16]}-{hex_[16:20]}-{hex_[20:]}",
        type_,
        correlation_id or causation_id,
        causation_id,
        traceparent[1:] if traceparent else None,
        (int(microseconds) + 500_000) // 1_000_000 if microseconds else timestamp,
        mark.partition(_TRACESTATE)[2] or None,
    )
