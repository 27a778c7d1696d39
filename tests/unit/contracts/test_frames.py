"""Whole messages are read and written as pika does it frame by frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.frame import Body, Header, Heartbeat, Method, decode_frame
from pika.spec import Basic, BasicProperties

from allocation_contracts.amqp.frames import IncompleteError, read_delivery, write_publication

SHORT = st.text(max_size=60)
FLAT = st.one_of(st.none(), st.booleans(), st.integers(-(2**31), 2**31 - 1), SHORT, st.binary(max_size=20))
HEADERS = st.dictionaries(SHORT, st.one_of(FLAT, st.lists(FLAT, max_size=3), st.dictionaries(SHORT, FLAT, max_size=3)))
PROPERTIES = st.builds(
    BasicProperties,
    content_type=st.none() | SHORT,
    content_encoding=st.none() | SHORT,
    headers=st.none() | HEADERS,
    delivery_mode=st.none() | st.integers(0, 255),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | SHORT,
    reply_to=st.none() | SHORT,
    expiration=st.none() | SHORT,
    message_id=st.none() | SHORT,
    timestamp=st.none() | st.integers(0, 2**64 - 1),
    type=st.none() | SHORT,
    user_id=st.none() | SHORT,
    app_id=st.none() | SHORT,
    cluster_id=st.none() | SHORT,
)
DELIVERS = st.builds(Basic.Deliver, SHORT, st.integers(0, 2**64 - 1), st.booleans(), SHORT, SHORT)
CHANNELS = st.integers(1, 65535)
BODIES = st.binary(min_size=1, max_size=300)
NOT_UTF8 = b"\xff"


def frames(channel: int, method: Basic.Deliver | Basic.Publish, properties: BasicProperties, *bodies: bytes) -> bytes:
    """Return the frames of a message as pika writes them."""
    header = Header(channel, len(b"".join(bodies)), properties)
    return b"".join(each.marshal() for each in (Method(channel, method), header, *(Body(channel, it) for it in bodies)))


DELIVER = Basic.Deliver("tag", 7, False, "exchange", "key")  # noqa: FBT003 - pika has it by position


def usual(properties: BasicProperties | None = None, *bodies: bytes) -> bytes:
    return frames(1, DELIVER, properties or BasicProperties(message_id="a"), *(bodies or (b"{}",)))


@given(CHANNELS, DELIVERS, PROPERTIES, BODIES, st.binary(max_size=20), st.binary(max_size=20))
def test_a_delivery_is_read_as_pika_reads_it(
    channel: int, deliver: Basic.Deliver, properties: BasicProperties, body: bytes, before: bytes, after: bytes
) -> None:
    sent = frames(channel, deliver, properties, body)
    size, method = decode_frame(sent)
    header = decode_frame(sent[size:])[1]
    assert isinstance(method, Method)
    assert isinstance(header, Header)

    found = read_delivery(before + sent + after, len(before))

    assert found is not None
    assert (found.end, found.channel, found.body) == (len(before) + len(sent), channel, body)
    assert vars(found.method) == vars(method.method)
    assert vars(found.properties) == vars(header.properties)


@given(CHANNELS, PROPERTIES, BODIES, SHORT, SHORT, st.booleans())
def test_a_publication_is_written_as_pika_writes_it(
    channel: int,
    properties: BasicProperties,
    body: bytes,
    exchange: str,
    routing_key: str,
    mandatory: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    publish = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    assert write_publication(channel, publish, properties, body) == frames(channel, publish, properties, body)


def test_a_text_that_pika_could_not_decode_is_written_as_it_came() -> None:
    properties = BasicProperties(message_id=NOT_UTF8, headers={})  # type: ignore[arg-type] # pika decodes it so
    publish = Basic.Publish(exchange="", routing_key="key", mandatory=True)
    assert write_publication(1, publish, properties, b"{}") == frames(1, publish, properties, b"{}")


@pytest.mark.parametrize(
    "properties",
    [
        BasicProperties(message_id="x" * 256),
        BasicProperties(delivery_mode=-1),  # type: ignore[arg-type] # this is the point
        BasicProperties(timestamp=-1),
        BasicProperties(type=5),  # type: ignore[arg-type] # as above
    ],
)
def test_what_amqp_cannot_carry_is_not_written(properties: BasicProperties) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - pika raises many kinds, too
        write_publication(1, Basic.Publish(exchange="", routing_key="key"), properties, b"{}")


def test_more_bytes_are_needed_until_the_last_has_come() -> None:
    sent = usual()
    for size in range(1, len(sent)):
        with pytest.raises(IncompleteError):
            read_delivery(sent[:size], 0)
    assert read_delivery(sent, 0) is not None


WRONG_END = usual()[:-1] + b"\0"
OTHERS = {
    "a heartbeat": Heartbeat().marshal(),
    "an ack": Method(1, Basic.Ack(7)).marshal() + usual(),
    "the rest of a message": Body(1, b"{}").marshal() + usual(),
    "a body in two frames": usual(None, b"{", b"}"),
    "an empty body": frames(1, DELIVER, BasicProperties()),
    "a frame that does not end": WRONG_END,
    "a text that is not UTF-8": usual(BasicProperties(message_id=NOT_UTF8)),  # type: ignore[arg-type] # as above
    "more flags than properties": usual().replace(b"\0\x80\x01a", b"\0\x81\x01a"),
    "properties that end too early": usual().replace(b"\0\x80\x01a", b"\0\x80\0a"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_all_else_is_left_to_pika(name: str) -> None:
    assert read_delivery(OTHERS[name], 0) is None
