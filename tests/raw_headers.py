"""Header values that pika cannot encode, as raw bytes."""

import struct
from typing import Any

import pika.data
import pytest


class RawHeader:
    """A header value, encoded already: its type's letter first."""

    def __init__(self, value: bytes) -> None:
        self.value = value


def nested(depth: int) -> RawHeader:
    """Tables, each within the other."""
    value = b"V"
    for _ in range(depth):
        entry = b"\x01a" + value
        value = b"F" + struct.pack(">I", len(entry)) + entry
    return RawHeader(value)


def arrays(depth: int) -> RawHeader:
    """Arrays, each within the other."""
    value = b"V"
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return RawHeader(value)


TOO_LATE = RawHeader(b"T" + b"\xff" * 8)
"""A timestamp of 2^64-1."""

MILLISECONDS = RawHeader(b"T" + struct.pack(">Q", 1_767_225_600_000))
"""A timestamp in milliseconds, where AMQP has seconds."""

UNDECODABLE = {
    "nested": nested(600),
    "timestamp": TOO_LATE,
    "milliseconds": MILLISECONDS,
    "arrays": arrays(1_500),
}
"""All kinds that a broker takes and pika cannot decode, by name."""


def allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pika send them."""
    encode_value = pika.data.encode_value

    def encode(pieces: list[bytes], value: Any) -> int:
        if not isinstance(value, RawHeader):
            return encode_value(pieces, value)
        pieces.append(value.value)
        return len(value.value)

    monkeypatch.setattr(pika.data, "encode_value", encode)
