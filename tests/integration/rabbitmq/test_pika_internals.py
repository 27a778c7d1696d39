"""Each private name of pika that we use still works as expected."""

import struct
from collections.abc import Callable
from threading import Event
from typing import Any

import pika
import pytest
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from allocation_contracts import DEAD_LETTERS, ORDERS_QUEUE
from allocation_contracts.amqp.lenient import UndecodableProperties
from allocation_contracts.amqp.link import Link
from allocation_contracts.amqp.pika_internals import ack_later, forget_blocking_consumers, forget_consumers
from tests.integration.rabbitmq.rig import Place, eventually, unique
from tests.raw_headers import TOO_LATE, allow

CANCEL = struct.pack(">HH", Basic.Cancel.INDEX >> 16, Basic.Cancel.INDEX & 0xFFFF)


class Wire:
    """What goes out to the broker, piece by piece."""

    def __init__(self, connection: Any) -> None:
        self.written: list[bytes] = []
        self._write: Callable[[bytes], None] = connection._transport.write
        connection._transport.write = self._note

    def _note(self, data: bytes) -> None:
        self.written.append(data)
        self._write(data)


def on_a_channel(place: Place, work: Callable[[Wire, Channel, Callable[[], None]], None]) -> None:
    """Do something with a channel, in the network thread, until it says that it is done."""
    done = Event()

    def connected(connection: pika.SelectConnection) -> None:
        wire = Wire(connection)
        connection.channel(on_open_callback=lambda channel: work(wire, channel, done.set))

    link = Link([place.url], name="tests", on_connected=connected, on_lost=lambda: None)
    link.start()
    try:
        assert done.wait(30)
    finally:
        link.stop()
        link.join(10)


def test_adapter_emit_data__the_frames_of_a_turn_are_written_together(place: Place) -> None:
    pieces: list[int] = []

    def work(wire: Wire, channel: Channel, done: Callable[[], None]) -> None:
        def confirmed(_frame: object) -> None:
            pieces.append(len(wire.written) - before)
            done()

        channel.confirm_delivery(confirmed)
        before = len(wire.written)
        for _ in range(100):
            channel.basic_publish("", ORDERS_QUEUE, b"{}")

    on_a_channel(place, work)
    assert pieces[0] == 1  # later confirms also see the frame that closes the channel
    eventually(lambda: place.depth(ORDERS_QUEUE) == 100)  # `done` was told by the first of them


def test_read_frame_and_frame_buffer__headers_that_cannot_be_decoded_do_not_close_the_connection(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch)
    place.send("before")
    place.send("culprit", headers={"h": TOO_LATE})
    place.send("after")
    seen: list[BasicProperties] = []

    def work(_wire: Wire, channel: Channel, done: Callable[[], None]) -> None:
        def delivered(_channel: Channel, method: Basic.Deliver, properties: BasicProperties, _body: bytes) -> None:
            seen.append(properties)
            channel.basic_ack(method.delivery_tag or 0)
            if len(seen) == 3:
                done()

        channel.basic_consume(ORDERS_QUEUE, delivered)

    on_a_channel(place, work)
    assert [properties.message_id for properties in seen] == ["before", "culprit", "after"]
    assert isinstance(seen[1], UndecodableProperties)
    assert TOO_LATE.value in seen[1].raw


@pytest.mark.parametrize("forgotten", [True, False])
def test_consumers__a_channel_is_closed_without_a_cancel(place: Place, forgotten: bool) -> None:  # noqa: FBT001 - pytest gives it
    wires: list[Wire] = []

    def work(wire: Wire, channel: Channel, done: Callable[[], None]) -> None:
        def consuming(_frame: object) -> None:
            wires.append(wire)
            if forgotten:
                forget_consumers(channel)
            channel.close()

        channel.add_on_close_callback(lambda *_: done())
        channel.basic_consume(ORDERS_QUEUE, lambda *_: None, callback=consuming)

    on_a_channel(place, work)
    [wire] = wires
    assert any(CANCEL in piece for piece in wire.written) is not forgotten


def test_impl__an_ack_is_sent_with_the_next_look_at_the_connection(place: Place) -> None:
    place.send("a", "b", key="nobody-is-bound-for-this")
    channel = place.channel
    arrived: list[int] = []
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(DEAD_LETTERS, lambda _channel, method, *_: arrived.append(method.delivery_tag))
    while not arrived:
        channel.connection.process_data_events(time_limit=1)
    ack_later(channel, arrived[0])
    assert len(arrived) == 1
    while len(arrived) < 2:
        channel.connection.process_data_events(time_limit=1)


def test_consumer_infos__what_is_on_its_way_when_a_channel_is_closed_comes_back_in_its_order(place: Place) -> None:
    sent = unique(300)
    place.send(*sent)
    with pika.BlockingConnection(pika.URLParameters(place.url)) as connection:
        channel = connection.channel()
        arrived: list[object] = []
        channel.basic_qos(prefetch_count=100)
        channel.basic_consume(ORDERS_QUEUE, lambda _channel, _method, properties, _: arrived.append(properties))
        while not arrived:
            connection.process_data_events(time_limit=1)
        forget_blocking_consumers(channel)
    eventually(lambda: place.depth(ORDERS_QUEUE) == 300)
    assert [properties.message_id for properties, _ in place.take_all(ORDERS_QUEUE)] == sent
