"""pika's connections and channels on the broker in memory, as far as the product uses them.

A client's frames wait in its connection until the scheduler runs the connection, so that anything may happen before
they arrive. The broker's frames wait in the client's loop.
"""

from collections import deque
from collections.abc import Callable
from copy import copy
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from pika import ConnectionParameters
from pika.exceptions import ChannelClosedByClient, StreamLostError
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from tests.simulation import faults
from tests.simulation.broker import Letter, Queue, Subscription
from tests.simulation.faults import Outcome

if TYPE_CHECKING:
    from tests.simulation.link import SimulatedLink

Callback = Callable[..., Any]

NOTICED_AFTER = 20.0
"""Seconds until a heartbeat tells the other side."""


class Frame:
    """Something on its way to the broker."""

    def __init__(self, words: str, arrive: Callable[[], None], refuse: Callable[[], None] | None = None) -> None:
        self.words = words
        self.arrive = arrive
        self.refuse = refuse

    @property
    def options(self) -> faults.Options:
        options = faults.FRAME if self.refuse is None else (*faults.PUBLISH, Outcome.UNANSWERED)
        return (*options, Outcome.CUT, Outcome.ABANDONED, Outcome.SLOW)


class SimulatedChannel:
    """A channel; it opens a moment after it was asked for."""

    def __init__(self, connection: "SimulatedConnection", on_open: Callback) -> None:
        self._connection = connection
        self._consumers: dict[str, object] = {}  # the product empties it, so that pika cancels nothing
        self._prefetch = 0
        self._confirming: Callback | None = None
        self._published = 0
        self._tags = count(1)
        self._subscriptions: dict[str, Subscription] = {}
        self._cancelled: set[str] = set()
        self._queue: Queue | None = None
        self._on_close: list[Callback] = []
        self._on_return: list[Callback] = []
        self._over = False
        self.is_open = False
        connection.send(Frame("channel.open", lambda: self._answer(partial(self._opened, on_open))))

    def add_on_close_callback(self, callback: Callback) -> None:
        self._on_close.append(callback)

    def add_on_cancel_callback(self, callback: Callback) -> None:
        pass

    def add_on_return_callback(self, callback: Callback) -> None:
        self._on_return.append(callback)

    def confirm_delivery(self, callback: Callback) -> None:
        self._confirming = callback

    def basic_qos(self, *, prefetch_count: int) -> None:
        self._prefetch = prefetch_count

    def basic_consume(self, queue: str, on_message: Callback, callback: Callback) -> str:
        prefetch = self._prefetch
        consumer_tag = f"consumer-{len(self._consumers) + 1}"
        self._consumers[consumer_tag] = on_message

        def consume() -> None:
            self._answer(partial(callback, Method(1, Basic.ConsumeOk())))
            self._queue = self._connection.broker.queues[queue]
            deliver = partial(self._deliver, consumer_tag, on_message)
            self._subscriptions[consumer_tag] = Subscription(prefetch, self._tags.__next__, deliver)
            self._queue.subscribe(self._subscriptions[consumer_tag])

        self._connection.send(Frame(f"consume {queue}, prefetch {prefetch}", consume))
        return consumer_tag

    def basic_cancel(self, consumer_tag: str, callback: Callback) -> None:
        self._cancelled.add(consumer_tag)

        def cancel() -> None:
            assert self._queue is not None
            self._queue.cancel(self._subscriptions[consumer_tag])
            self._answer(partial(callback, Method(1, Basic.CancelOk(consumer_tag))))

        self._connection.send(Frame(f"cancel {consumer_tag}", cancel))

    def basic_reject(self, delivery_tag: int) -> None:
        def reject() -> None:
            assert self._queue is not None
            self._queue.reject(list(self._subscriptions.values()), delivery_tag)

        self._connection.send(Frame(f"reject {delivery_tag}", reject))

    def basic_ack(self, delivery_tag: int, *, multiple: bool) -> None:
        def ack() -> None:
            assert self._queue is not None
            self._queue.ack(list(self._subscriptions.values()), delivery_tag, multiple=multiple)

        self._connection.send(Frame(f"ack up to {delivery_tag}" if multiple else f"ack {delivery_tag}", ack))

    def basic_publish(
        self, exchange: str, routing_key: str, body: bytes, properties: BasicProperties, *, mandatory: bool = False
    ) -> None:
        self._published += 1
        tag = self._published
        received = BasicProperties().decode(b"".join(properties.encode()))
        letter = Letter(exchange, routing_key, body, received)

        def publish() -> None:
            if not self._connection.broker.publish(letter) and mandatory:
                self._answer(partial(self._returned, letter))
            self._confirm(Basic.Ack(tag))

        words = f"publish {received.type} {received.message_id} to {exchange or routing_key}"
        self._connection.send(Frame(words, publish, refuse=lambda: self._confirm(Basic.Nack(tag))))

    def close(self) -> None:
        self.is_open = False
        self._connection.send(Frame("channel.close", self._close))

    def end(self) -> None:
        """The broker forgets it."""
        if self._queue is not None:
            self._queue.end(list(self._subscriptions.values()))
        self._queue = None
        self._subscriptions = {}

    def lost(self, reason: Exception) -> None:
        """The client learns that it is gone."""
        self.is_open = False
        if not self._over:
            self._over = True
            for callback in self._on_close:
                callback(self, reason)

    def _answer(self, callback: Callable[[], None]) -> None:
        self._connection.answer(callback)

    def _opened(self, on_open: Callback) -> None:
        self.is_open = True
        on_open(self)

    def _close(self) -> None:
        self.end()
        self._answer(lambda: self.lost(ChannelClosedByClient(200, "Normal shutdown")))

    def _confirm(self, answer: Basic.Ack | Basic.Nack) -> None:
        if self._confirming is not None:
            self._answer(partial(self._confirming, Method(1, answer)))

    def _returned(self, letter: Letter) -> None:
        method = Basic.Return(312, "NO_ROUTE", letter.exchange, letter.routing_key)
        for callback in self._on_return:
            callback(self, method, letter.properties, letter.body)

    def _deliver(self, consumer_tag: str, on_message: Callback, tag: int, letter: Letter) -> None:
        properties = copy(letter.properties)
        if letter.failures:
            properties.headers = {**(properties.headers or {}), "x-delivery-count": letter.failures}
        method = Basic.Deliver(consumer_tag, tag, letter.failures > 0, letter.exchange, letter.routing_key)

        def delivered() -> None:
            if not self.is_open:
                return
            if consumer_tag in self._cancelled:
                self.basic_reject(tag)  # as pika does with what was on its way
            else:
                on_message(self, method, properties, letter.body)

        self._answer(delivered)


class SimulatedConnection:
    """A connection, and an actor: its turn takes one frame to the broker."""

    def __init__(self, link: "SimulatedLink") -> None:
        self._link = link
        self._process = link.process
        self.broker = link.process.world.broker
        self.name = f"{link.process.name}: {link.name}"
        self.channels: list[SimulatedChannel] = []
        self.is_open = True
        self.params = ConnectionParameters()
        self._known_to_broker = True
        self._stalled = False
        self._answers = True
        self._frames: deque[Frame] = deque()
        link.process.world.scheduler.actors.append(self)
        link.process.world.connections.append(self)

    def channel(self, *, on_open_callback: Callback) -> SimulatedChannel:
        channel = SimulatedChannel(self, on_open_callback)
        self.channels.append(channel)
        return channel

    def close(self) -> None:
        self.send(Frame("connection.close", self.lose))

    def send(self, frame: Frame) -> None:
        if self.is_open:
            self._frames.append(frame)

    def answer(self, callback: Callable[[], None]) -> None:
        """From the broker: run it in the network thread, if the connection lives to see it."""

        def arrive() -> None:
            if self.is_open:
                callback()

        if self._known_to_broker and self._answers:
            self._link.call_soon(arrive)

    def ready(self) -> bool:
        return bool(self._frames) and not self._stalled

    def step(self) -> None:
        frame = self._frames.popleft()
        if not self._known_to_broker:
            return
        outcome = self._process.world.decide(f"{self.name}: {frame.words}", frame.options)
        if outcome is Outcome.OK:
            frame.arrive()
        else:
            self._befall(frame, outcome)

    def _befall(self, frame: Frame, outcome: Outcome) -> None:
        world = self._process.world
        match outcome:
            case Outcome.SLOW:
                self._frames.appendleft(frame)
                self._stalled = True
                world.scheduler.later(world.a_while(), self._go_on)
            case Outcome.NACK:
                assert frame.refuse is not None
                frame.refuse()
                world.nacked = True
            case Outcome.UNANSWERED:
                self._answers = False
                frame.arrive()
                self._answers = True
            case Outcome.ERROR_BEFORE:
                self.lose()
            case Outcome.ERROR_AFTER:
                # The client must not see the answer: its end is told of the loss first.
                self._tell_client()
                frame.arrive()
                self.forget()
            case Outcome.CRASH_BEFORE:
                self._process.kill()
            case Outcome.CRASH_AFTER:
                frame.arrive()
                self._process.kill()
            case Outcome.CUT:
                self.forget()
                world.scheduler.later(NOTICED_AFTER, self._tell_client)
            case Outcome.ABANDONED:
                self._frames.clear()
                self._tell_client()
                world.scheduler.later(NOTICED_AFTER, self.forget)

    def lose(self) -> None:
        """Gone, at both ends."""
        self._frames.clear()
        self.forget()
        self._tell_client()

    def forget(self) -> None:
        """The broker's end: what was in hand comes back."""
        if self._known_to_broker:
            self._known_to_broker = False
            self._process.world.connections.remove(self)
            for channel in self.channels:
                channel.end()

    def _go_on(self) -> None:
        self._stalled = False

    def _tell_client(self) -> None:
        self._link.call_soon(self._lost)

    def _lost(self) -> None:
        if self.is_open:
            self.is_open = False
            self._frames.clear()
            self._process.world.scheduler.remove(self)
            for channel in self.channels:
                channel.lost(StreamLostError("Stream connection lost"))
            self._link.lost()
