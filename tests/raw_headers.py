"""Header values that pika would not encode, put on the wire as they are."""

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


TOO_LATE = RawHeader(b"T" + b"\xff" * 8)
"""A timestamp of 2^64-1."""


def allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pika send them."""
    encode_value = pika.data.encode_value

    def encode(pieces: list[bytes], value: Any) -> int:
        if not isinstance(value, RawHeader):
            return encode_value(pieces, value)
        pieces.append(value.value)
        return len(value.value)

    monkeypatch.setattr(pika.data, "encode_value", encode)
