"""The frames of whole messages, read and written in a third of the time that pika takes.

pika reads and writes a message frame by frame, through some thirty calls. Here are the usual messages only: their body
is one frame, and their flags are one word. All others, and whatever is wrong, are left to pika.
"""

import struct
from functools import lru_cache
from typing import NamedTuple

from pika import data
from pika.frame import Method
from pika.spec import (
    FRAME_BODY,
    FRAME_END,
    FRAME_END_SIZE,
    FRAME_HEADER,
    FRAME_HEADER_SIZE,
    FRAME_METHOD,
    Basic,
    BasicProperties,
)

from allocation_contracts.errors import AllocationError

_KINDS = 64
"""How many kinds of messages, by their flags or by where they go, are remembered."""

_FRAME = struct.Struct(">BHI")
_DELIVER = struct.Struct(">BHIIB")
_TAG = struct.Struct(">Q?")
_HEADER = struct.Struct(">BHIHHQ")
_FLAGS = struct.Struct(">H")
_TIMESTAMP = struct.Struct(">Q")

_CLASS_AND_WEIGHT_AND_SIZE = _HEADER.size - _FRAME.size
_MORE_FLAGS = 1

_TEXT, _TABLE, _OCTET, _TIME = range(4)
# In the order of their flags, from the highest bit on.
_FIELDS = (
    ("content_type", _TEXT),
    ("content_encoding", _TEXT),
    ("headers", _TABLE),
    ("delivery_mode", _OCTET),
    ("priority", _OCTET),
    ("correlation_id", _TEXT),
    ("reply_to", _TEXT),
    ("expiration", _TEXT),
    ("message_id", _TEXT),
    ("timestamp", _TIME),
    ("type", _TEXT),
    ("user_id", _TEXT),
    ("app_id", _TEXT),
    ("cluster_id", _TEXT),
)


class IncompleteError(AllocationError):
    """The rest of a delivery has not come yet."""


class DeliveredFrames(NamedTuple):
    """A delivery, and the place behind its frames."""

    end: int
    channel: int
    method: Basic.Deliver
    properties: BasicProperties
    body: bytes


def read_delivery(buffer: bytes, start: int) -> DeliveredFrames | None:
    """Read the delivery whose frames begin at `start`.

    Returns:
        The delivery; None if pika has to read what stands there.

    Raises:
        IncompleteError: More bytes are needed.
    """
    try:
        kind, channel, size, method, tag_size = _DELIVER.unpack_from(buffer, start)
        if kind != FRAME_METHOD or method != Basic.Deliver.INDEX:
            return None
        header = start + FRAME_HEADER_SIZE + size + FRAME_END_SIZE
        header_kind, _, header_size, _, _, body_size = _HEADER.unpack_from(buffer, header)
        if not body_size:  # then there is no frame for it
            return None
        body = header + FRAME_HEADER_SIZE + header_size + FRAME_END_SIZE
        body_kind, _, fragment_size = _FRAME.unpack_from(buffer, body)
        end = body + FRAME_HEADER_SIZE + fragment_size + FRAME_END_SIZE
        ends = (buffer[header - 1], buffer[body - 1], buffer[end - 1])
    except (struct.error, IndexError):
        if buffer[start] == FRAME_METHOD:
            raise IncompleteError from None
        return None
    if (header_kind, body_kind, fragment_size) != (FRAME_HEADER, FRAME_BODY, body_size) or ends != (FRAME_END,) * 3:
        return None
    try:
        tag = start + _DELIVER.size
        delivery_tag, redelivered = _TAG.unpack_from(buffer, tag + tag_size)
        exchange, routing_key = _texts(buffer, tag + tag_size + _TAG.size, header - 1)
        consumer_tag = buffer[tag : tag + tag_size].decode()
        properties = _properties(buffer, header + _HEADER.size, body - 1)
    except Exception:  # noqa: BLE001 - pika's decoder raises many kinds, and says what becomes of such a message
        return None
    deliver = Basic.Deliver(consumer_tag, delivery_tag, redelivered, exchange, routing_key)
    return DeliveredFrames(end, channel, deliver, properties, buffer[body + FRAME_HEADER_SIZE : end - 1])


def write_publication(channel: int, method: Basic.Publish, properties: BasicProperties, body: bytes) -> bytes:
    """Return the three frames of a message. The body is not empty, and fits into one."""
    publish = _publish(channel, method.exchange, method.routing_key, method.mandatory)
    encoded = _encoded(properties)
    header = _HEADER.pack(
        FRAME_HEADER, channel, _CLASS_AND_WEIGHT_AND_SIZE + len(encoded), properties.INDEX, 0, len(body)
    )
    return b"".join((publish, header, encoded, _END, _FRAME.pack(FRAME_BODY, channel, len(body)), body, _END))


_LENGTHS = [bytes((length,)) for length in range(256)]
_END = bytes((FRAME_END,))
_BITS = [(1 << 15 - place, name, kind) for place, (name, kind) in enumerate(_FIELDS)]


@lru_cache(_KINDS)
def _publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001 - as in AMQP
    return Method(channel, Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)).marshal()


def _texts(buffer: bytes, at: int, end: int) -> tuple[str, str]:
    """Return the two short strings that stand between two places.

    Raises:
        ValueError: Something else stands there.
    """
    middle = at + 1 + buffer[at]
    if middle + 1 + buffer[middle] != end:
        raise ValueError("There are not two short strings.")
    return buffer[at + 1 : middle].decode(), buffer[middle + 1 : end].decode()


@lru_cache(_KINDS)
def _fields(flags: int) -> tuple[tuple[str, int], ...]:
    if flags & _MORE_FLAGS:
        raise ValueError("There are more flags than AMQP 0-9-1 has properties.")
    return tuple((name, kind) for bit, name, kind in _BITS if flags & bit)


def _properties(buffer: bytes, at: int, end: int) -> BasicProperties:
    properties = BasicProperties()
    found = vars(properties)
    fields = _fields(*_FLAGS.unpack_from(buffer, at))
    at += _FLAGS.size
    for name, kind in fields:
        if kind == _TEXT:
            following = at + 1 + buffer[at]
            found[name] = buffer[at + 1 : following].decode()
            at = following
        elif kind == _OCTET:
            found[name] = buffer[at]
            at += 1
        elif kind == _TIME:
            (found[name],) = _TIMESTAMP.unpack_from(buffer, at)
            at += _TIMESTAMP.size
        else:
            found[name], at = data.decode_table(buffer, at)
    if at != end:
        raise ValueError("The properties end elsewhere than their frame.")
    return properties


def _encoded(properties: BasicProperties) -> bytes:
    flags = 0
    pieces = [b""]
    values = vars(properties)
    for bit, name, kind in _BITS:
        value = values[name]
        if value is None:
            continue
        flags |= bit
        if kind == _TEXT:
            text = value if isinstance(value, bytes) else value.encode()  # pika leaves it if it is not UTF-8
            pieces += (_LENGTHS[len(text)], text)
        elif kind == _TABLE:
            data.encode_table(pieces, value)
        else:
            pieces.append(value.to_bytes() if kind == _OCTET else _TIMESTAMP.pack(value))
    pieces[0] = _FLAGS.pack(flags)
    return b"".join(pieces)
