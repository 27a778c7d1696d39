"""A connection that survives message headers that pika cannot decode."""

import struct
from typing import Any

import pika
from pika.frame import Frame, Header
from pika.spec import FRAME_END_SIZE, FRAME_HEADER, FRAME_HEADER_SIZE, BasicProperties

UNDECODABLE = "undecodable-headers"
"""The reason that such a message is refused with."""

_FRAME = struct.Struct(">BHL")
_CONTENT = struct.Struct(">HHQ")


class UndecodableProperties(BasicProperties):
    """The properties of a message whose header table pika cannot decode.

    All properties but the headers are read as usual. `headers` is None.

    Attributes:
        raw: The encoded properties, as they came off the wire.
        detail: One sentence that says what pika could not decode.
    """

    def __init__(self, raw: bytes, error: Exception) -> None:
        super().__init__()
        self.raw = raw
        self.detail = f"Its headers cannot be decoded ({type(error).__name__}: {error})."
        try:
            self.decode(_without_headers(raw))
        except Exception:  # noqa: BLE001 - then none of the properties is known; pika's decoder raises many kinds
            super().__init__()
        self.headers = None


class LenientConnection(pika.SelectConnection):
    """Delivers UndecodableProperties where pika would close the connection, and with it lose all unacked messages.

    A sender needs no bad intent for such headers: a timestamp in milliseconds is enough.

    `_read_frame` and `_frame_buffer` are private to pika. Nothing public lets a frame be read in another way.
    """

    _frame_buffer: bytes

    def _read_frame(self) -> tuple[int, Frame | None]:
        try:
            read: tuple[int, Frame | None] = super()._read_frame()  # type: ignore[misc] # the stubs leave it out
        except Exception as error:
            kind, channel, size = _FRAME.unpack_from(self._frame_buffer)
            if kind != FRAME_HEADER:
                raise
            content: bytes = self._frame_buffer[FRAME_HEADER_SIZE : FRAME_HEADER_SIZE + size]
            _class, _weight, body_size = _CONTENT.unpack_from(content)
            properties: Any = UndecodableProperties(content[_CONTENT.size :], error)
            return FRAME_HEADER_SIZE + size + FRAME_END_SIZE, Header(channel, body_size, properties)
        return read


def _without_headers(raw: bytes) -> bytes:
    """Return the same properties with an empty header table.

    The table is the third property, after two short strings, and begins with its size.
    """
    flags = int.from_bytes(raw[:2], "big")
    at = 2
    for flag in (BasicProperties.FLAG_CONTENT_TYPE, BasicProperties.FLAG_CONTENT_ENCODING):
        if flags & flag:
            at += 1 + raw[at]
    size = int.from_bytes(raw[at : at + 4], "big")
    return raw[:at] + bytes(4) + raw[at + 4 + size :]
