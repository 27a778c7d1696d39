"""All that this package and the worker use of pika's private names, in one place.

pika has no public way for any of it. A new minor version may drop them: `test_pika_internals.py` names each, and
the version is capped.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.channel import Channel
from pika.frame import Frame, Header, Method
from pika.spec import FRAME_END_SIZE, FRAME_HEADER, FRAME_HEADER_SIZE, Basic, BasicProperties

from allocation_contracts.amqp.frames import IncompleteError, read_delivery, write_publication
from allocation_contracts.amqp.lenient import UndecodableProperties

_READ_AT_ONCE = 65_536

_FRAME = struct.Struct(">BHL")
_CONTENT = struct.Struct(">HHQ")


class LenientConnection(pika.SelectConnection):
    """Delivers UndecodableProperties where pika would close the connection, and with it lose all unacked messages.

    A sender needs no bad intent for such headers: a timestamp in milliseconds is enough. Uses `_read_frame` and
    `_frame_buffer`.
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


class QuickConnection(LenientConnection):
    """Reads and writes the three frames of a usual message at once. pika does the rest.

    Uses `_on_data_available` and all that it calls, `_send_message` and `_output_marshaled_frames`.
    """

    _channels: dict[int, Channel]
    _body_max_length: int
    bytes_received: int
    frames_received: int
    frames_sent: int
    _trim_frame_buffer: Callable[[int], None]
    _process_frame: Callable[[Frame], None]
    _output_marshaled_frames: Callable[[Sequence[bytes]], None]

    def _on_data_available(self, data_in: bytes) -> None:
        self._frame_buffer += data_in
        while self._frame_buffer:
            try:
                self._take_deliveries()
            except IncompleteError:
                return
            consumed, frame = self._read_frame()
            if frame is None:
                return
            self._trim_frame_buffer(consumed)
            self._process_frame(frame)

    def _take_deliveries(self) -> None:
        """Pass on the deliveries with which the buffer begins.

        Raises:
            IncompleteError: Nothing but a part of one is left.
        """
        at = 0
        try:
            while at < len(self._frame_buffer) and (found := read_delivery(self._frame_buffer, at)):
                channel: Any = self._channels.get(found.channel)
                if channel is None:
                    return
                at = found.end
                self.frames_received += 3
                header = Header(found.channel, len(found.body), found.properties)
                channel._on_deliver(Method(found.channel, found.method), header, found.body)  # noqa: SLF001 - as pika does
        finally:
            self._trim_frame_buffer(at)

    def _send_message(self, channel_number: int, method: Basic.Publish, content: tuple[BasicProperties, bytes]) -> None:
        properties, body = content
        if not 0 < len(body) <= self._body_max_length:
            super()._send_message(channel_number, method, content)  # type: ignore[misc] # the stubs leave it out
            return
        self._output_marshaled_frames([write_publication(channel_number, method, properties, body)])
        self.frames_sent += 2


class CoalescingConnection(QuickConnection):
    """Writes to its socket once in each turn of its loop, and reads much at once.

    pika makes a system call for each frame that it writes, three for a message, and for each 4 kB that it reads. Uses
    `_adapter_emit_data`, `_proto_connection_made` and `_MAX_RECV_BYTES`.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - pika's own, passed on
        self._frames: list[bytes] = []
        super().__init__(*arguments, **keywords)

    def _proto_connection_made(self, transport: Any) -> None:  # noqa: ANN401 - pika's own
        transport._MAX_RECV_BYTES = _READ_AT_ONCE  # noqa: SLF001 - there is no public way
        super()._proto_connection_made(transport)  # type: ignore[misc] # the stubs leave it out

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._frames:
            self.ioloop.call_later(0, self._emit_all)
        self._frames.append(data)

    def _emit_all(self) -> None:
        frames, self._frames = self._frames, []
        if not self.is_closed:
            super()._adapter_emit_data(b"".join(frames))  # type: ignore[misc] # the stubs leave it out


def forget_consumers(channel: Channel) -> None:
    """Keep pika from cancelling the consumers of a channel before it closes the channel. Uses `_consumers`.

    A cancel would let the next consumer of a queue with a single active consumer begin with the messages behind those
    that are still in hand here.
    """
    cast("Any", channel)._consumers.clear()  # noqa: SLF001 - there is no public way


def forget_blocking_consumers(channel: BlockingChannel) -> None:
    """Keep pika from cancelling the consumers of a channel before it closes the channel. Uses `_impl`.

    While a consumer is cancelled, pika rejects what is on its way to it, and a quorum queue puts that behind all else.
    A channel that is closed without a cancel returns everything in its order.
    """
    cast("Any", channel)._consumer_infos.clear()  # noqa: SLF001 - there is no public way
    forget_consumers(cast("Any", channel)._impl)  # noqa: SLF001 - as above


def ack_later(channel: BlockingChannel, tag: int) -> None:
    """Ack a delivery when the connection is next looked at. Uses `_impl`.

    The channel's own `basic_ack` sends at once, and reads all that has come meanwhile. With many deliveries to ack,
    more come in than are taken, until all of them are in memory.
    """
    cast("Any", channel)._impl.basic_ack(tag)  # noqa: SLF001 - there is no public way


def abort(connection: pika.SelectConnection) -> bool:
    """Close the socket of a connection without waiting for the broker. Uses `_transport`.

    The connection's `on_close_callback` (or `on_open_error_callback`) is called in the next turn of its loop.

    Returns:
        Whether there was a socket.
    """
    transport = cast("Any", connection)._transport  # noqa: SLF001 - there is no public way
    if transport is None:
        return False
    transport.abort()
    return True
