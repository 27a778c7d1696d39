"""A connection that outlives headers which pika cannot decode."""

import struct
from typing import Any

import pika
from pika.frame import Frame, Header
from pika.spec import FRAME_END_SIZE, FRAME_HEADER, FRAME_HEADER_SIZE, BasicProperties

_FRAME = struct.Struct(">BHL")
_CONTENT = struct.Struct(">HHQ")


class UndecodableProperties(BasicProperties):
    """What could be read of a message's properties beside its header table, which stays as the bytes that it is.

    Attributes:
        raw: All of the properties, as they came off the wire.
        error: What pika said.
    """

    def __init__(self, raw: bytes, error: Exception) -> None:
        super().__init__()
        self.raw = raw
        self.error = f"{type(error).__name__}: {error}"
        try:
            self.decode(_without_headers(raw))
        except Exception:  # noqa: BLE001 - then nothing of it is known; pika's decoder raises of many kinds
            super().__init__()
        self.headers = None


class TolerantConnection(pika.SelectConnection):
    """Hands out UndecodableProperties where pika's own connection would die, and all that is in hand with it.

    `_read_frame` and `_frame_buffer` are pika's own; nothing public lets a frame be read in another way.

    For looking at dead letters, where such messages end. `consume` does without: there, what kills a connection is to
    reach its delivery limit.
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
    """The same properties with an empty header table: it is the third, behind two short strings, and says its size."""
    flags = int.from_bytes(raw[:2], "big")
    at = 2
    for flag in (BasicProperties.FLAG_CONTENT_TYPE, BasicProperties.FLAG_CONTENT_ENCODING):
        if flags & flag:
            at += 1 + raw[at]
    size = int.from_bytes(raw[at : at + 4], "big")
    return raw[:at] + bytes(4) + raw[at + 4 + size :]
