"""Subscribing to events: typed, each once, in order, and with a notice of each gap."""

import logging
from collections.abc import Callable, Collection, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeAlias

import pika
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from allocation_contracts.amqp.acks import ThreadsafeAcks
from allocation_contracts.amqp.early import Early
from allocation_contracts.amqp.errors import SubscriptionError
from allocation_contracts.amqp.lenient import UNDECODABLE, UndecodableProperties
from allocation_contracts.amqp.link import Link, LinkFactory
from allocation_contracts.amqp.logs import log_to
from allocation_contracts.amqp.queues import NO_DELIVERY_LIMIT
from allocation_contracts.amqp.urls import parameters, split
from allocation_contracts.errors import ContractError
from allocation_contracts.events import (
    EVENTS,
    CommandRejected,
    Event,
    SkuEvent,
    UnknownEvent,
    read_event,
    read_unknown_event,
)
from allocation_contracts.names import EVENTS_EXCHANGE, PARKING_EXCHANGE
from allocation_contracts.positions import GapError, Position, Positions
from allocation_contracts.properties import EventProperties, read_event_properties

log = log_to(logging.getLogger(__name__))

Handler: TypeAlias = Callable[[Event, EventProperties], None]

_ALL_EVENTS = "#"
_JOIN_TIME = 10.0
_ACCESS_REFUSED = 403
_NOT_FOUND = 404
_PRECONDITION_FAILED = 406

_DEFAULT_EXCHANGE = ""

# Without a delivery limit: twenty restarts of a subscriber must not remove an event.
_PARKED_QUEUE = {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}


def raise_gap(gap: GapError) -> None:
    """Raise the error. The event after the gap stays in the queue."""
    raise gap


class _Delivery(NamedTuple):
    channel: Channel
    tag: int
    properties: BasicProperties
    body: bytes


class _Read(NamedTuple):
    event: SkuEvent
    properties: EventProperties
    delivery: _Delivery


class _ReadUnknown(NamedTuple):
    event: UnknownEvent
    delivery: _Delivery


_Counted: TypeAlias = _Read | _ReadUnknown


class Subscriber:
    """Consumes events from a durable quorum queue of its own, which it declares and binds.

    An event is acknowledged after its handler has returned and its position is stored. If either fails, the event comes
    again. Otherwise each event is handed over once, and the events of each SKU in order. If several programs consume
    the queue, one is active and the others stand by, since two would break the order.

    The queue gets all events, so that `sequence` has no gap. An event that is not wanted only advances the position of
    its SKU. So does an event of an unknown type, since a later version of the worker may add types.

    An event that breaks the contract is moved unchanged to the queue `QUEUE.parked`, and is logged. So is an event of
    an unknown type whose body is not JSON.

    Args:
        url: `amqp://` or `amqps://`; several, as a list or separated by commas, for the nodes of a cluster.
        queue: The name of the queue, such as `shipping.allocations`.
        events: The types to hand over.
        positions: The position in the events of each SKU; in memory if left out. If the program's own data is durable,
            give a durable mapping.
        on_gap: Called before an event is handed over whose predecessors are missing. By default the `GapError` is
            raised, and `run` ends. If it returns, `run` goes on. Missing events that come later, such as by
            `allocation-worker replay`, are handed over then.
        patience: For how many seconds to hold back an event whose predecessors are missing. After a crash or a lost
            connection the broker may deliver unacknowledged events in another order.
        on_repeat: Called with each event that is dropped because it was seen before. An allocate of a line that is
            already allocated is answered by such a repeat, with its own causation_id.
        prefetch: The most events that are delivered and not yet acknowledged, those held back included.
        link: Makes the connection; for tests.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        queue: str,
        *,
        events: Collection[type[Event]] = tuple(EVENTS.values()),
        positions: Positions | None = None,
        on_gap: Callable[[GapError], None] = raise_gap,
        on_repeat: Handler | None = None,
        patience: float = 2.0,
        prefetch: int = 200,
        link: LinkFactory = Link,
    ) -> None:
        self.parked: Final = f"{queue}.parked"
        self._queue = queue
        self._events = frozenset(events)
        self._positions: Positions = {} if positions is None else positions
        self._on_gap = on_gap
        self._on_repeat = on_repeat
        self._prefetch = prefetch
        self._arrived: SimpleQueue[_Delivery | SubscriptionError | None] = SimpleQueue()
        self._early = Early[_Counted](patience)
        self._parking = PARKING_EXCHANGE
        self._stopping = False
        self._channel: Channel | None = None
        self._reading: Channel | None = None
        urls = split(url)
        for each in urls:
            parameters(each, queue)  # raises for an invalid address
        self._link = link(urls, name=queue, on_connected=self._connected, on_lost=self._lost)
        self._acks = ThreadsafeAcks(self._link.call_soon)

    def run(self, handle: Handler) -> None:
        """Hand over events in this thread until `stop`. A lost connection is opened again. Can be called once.

        Args:
            handle: Called with each event and its properties. If it takes longer than half an hour, RabbitMQ's default,
                the broker delivers the event again.

        Raises:
            GapError: Events are missing, and `on_gap` is the default.
            SubscriptionError: The broker refuses this subscription.
            Exception: Whatever `handle` raises. The event stays in the queue.
        """
        self._link.start()
        try:
            while not self._stopping:
                arrived = self._next_arrival()
                if isinstance(arrived, Exception):
                    raise arrived
                if self._reading is not self._channel:  # unacknowledged events come again
                    self._reading = self._channel
                    self._early.forget()
                if arrived is not None and arrived.channel is self._reading:
                    self._read(arrived, handle)
                for read in self._early.release_overdue():
                    self._on_gap(self._gap_before(read.event))
                    self._take(read, handle)
        finally:
            self._link.stop()
            self._link.join(_JOIN_TIME)

    def stop(self) -> None:
        """Let `run` return after the current event. Thread-safe, and safe in a signal handler."""
        self._stopping = True
        self._arrived.put(None)

    def _next_arrival(self) -> _Delivery | SubscriptionError | None:
        try:
            return self._arrived.get(timeout=self._early.seconds_left())
        except Empty:
            return None

    def _read(self, delivery: _Delivery, handle: Handler) -> None:
        try:
            if (type_ := _unknown_type(delivery.properties)) is not None:
                self._read_unknown(type_, delivery, handle)
                return
            properties, event = _understand(delivery)
        except ContractError as violation:
            self._set_aside(delivery, violation)
            return
        if isinstance(event, CommandRejected):
            self._hand_over(event, properties, handle)
            self._acks.ack(delivery.channel, delivery.tag)
        else:
            self._take_in_turn(_Read(event, properties, delivery), handle)

    def _read_unknown(self, type_: str, delivery: _Delivery, handle: Handler) -> None:
        event = read_unknown_event(type_, delivery.body)
        log(
            logging.DEBUG, "event_skipped", message_id=delivery.properties.message_id, type=type_, reason="unknown-type"
        )
        if event is None:
            self._acks.ack(delivery.channel, delivery.tag)
        else:
            self._take_in_turn(_ReadUnknown(event, delivery), handle)

    def _take_in_turn(self, read: _Counted, handle: Handler) -> None:
        event = read.event
        position = self._position(event)
        if position.has_seen(event.sequence):
            self._drop(read)
        elif position.gap_before(event.sequence):
            if (before := self._early.hold(event.sku, event.sequence, read)) is not None:
                self._drop(before)
        else:
            self._take(read, handle)

    def _take(self, read: _Counted, handle: Handler) -> None:
        """Take this event, and the events that were held back until it came."""
        following: _Counted | None = read
        while following is not None:
            event = following.event
            position = self._position(event).after(event.sequence)
            if isinstance(following, _Read):
                self._hand_over(following.event, following.properties, handle)
            self._positions[event.sku] = position
            self._acks.ack(following.delivery.channel, following.delivery.tag)
            following = self._early.release(event.sku, position.last + 1)

    def _position(self, event: SkuEvent | UnknownEvent) -> Position:
        return self._positions.get(event.sku) or Position.before(event.sequence)

    def _gap_before(self, event: SkuEvent | UnknownEvent) -> GapError:
        return GapError(event.sku, self._position(event).last + 1, event.sequence)

    def _drop(self, read: _Counted) -> None:
        if self._on_repeat and isinstance(read, _Read):
            self._on_repeat(read.event, read.properties)
        self._acks.ack(read.delivery.channel, read.delivery.tag)

    def _hand_over(self, event: Event, properties: EventProperties, handle: Handler) -> None:
        if type(event) in self._events:
            handle(event, properties)

    def _set_aside(self, delivery: _Delivery, violation: ContractError) -> None:
        log(
            logging.ERROR,
            "event_parked",
            queue=self.parked,
            message_id=delivery.properties.message_id,
            correlation_id=delivery.properties.correlation_id,
            reason=violation.reason,
            detail=violation.detail,
        )
        self._acks.reject(delivery.channel, delivery.tag)

    # From here on: in the network thread.

    def _connected(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._closed)
        channel.add_on_cancel_callback(self._cancelled)
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.queue_declare(self.parked, durable=True, arguments=_PARKED_QUEUE)
        channel.queue_declare(self._queue, durable=True, arguments=_arguments(self.parked, self._parking))
        if self._parking == PARKING_EXCHANGE:
            channel.queue_bind(self.parked, PARKING_EXCHANGE, self.parked)
        # An older version has bound the keys of the types that it knew. These bindings stay and do no harm.
        only_rejections = self._events == {CommandRejected}
        channel.queue_bind(
            self._queue, EVENTS_EXCHANGE, CommandRejected.ROUTING_KEY if only_rejections else _ALL_EVENTS
        )
        channel.basic_consume(self._queue, self._delivered, callback=lambda _ok: self._link.mark_healthy())

    def _delivered(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        self._arrived.put(_Delivery(channel, method.delivery_tag or 0, properties, body))

    def _cancelled(self, _frame: object) -> None:
        log(
            logging.WARNING,
            "subscription_cancelled",
            queue=self._queue,
            detail="The broker cancelled the consumer; the queue may be deleted.",
        )
        self._link.reconnect()

    def _closed(self, channel: Channel, reason: Exception) -> None:
        self._lost()
        if self._parking != _DEFAULT_EXCHANGE and _is_of_an_earlier_version(reason):
            self._parking = _DEFAULT_EXCHANGE
            channel.connection.channel(on_open_callback=self._opened)
            return
        if isinstance(reason, ChannelClosedByBroker) and (error := _final(self._queue, reason)):
            self._arrived.put(error)
        self._link.reconnect()

    def _lost(self) -> None:
        self._channel = None


def _unknown_type(properties: BasicProperties) -> str | None:
    """Return the type if this version does not know it. A missing type breaks the contract, and is not unknown."""
    type_ = properties.type
    return type_ if isinstance(type_, str) and type_ and type_ not in EVENTS else None


def _understand(delivery: _Delivery) -> tuple[EventProperties, Event]:
    if isinstance(delivery.properties, UndecodableProperties):
        raise ContractError(UNDECODABLE, delivery.properties.detail)
    properties = read_event_properties(delivery.properties)
    return properties, read_event(properties.type, delivery.body)


def _is_of_an_earlier_version(reason: Exception) -> bool:
    """Return whether the queue exists, and parks through the default exchange: its arguments cannot be changed."""
    return (
        isinstance(reason, ChannelClosedByBroker)
        and reason.reply_code == _PRECONDITION_FAILED
        and "inequivalent arg 'x-dead-letter-exchange'" in reason.reply_text
    )


def _arguments(parked: str, parking: str) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-single-active-consumer": True,
        "x-delivery-limit": NO_DELIVERY_LIMIT,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": parking,
        "x-dead-letter-routing-key": parked,
        "x-dead-letter-strategy": "at-least-once",
    }


def _final(queue: str, reason: ChannelClosedByBroker) -> SubscriptionError | None:
    for exchange in (EVENTS_EXCHANGE, PARKING_EXCHANGE):
        if reason.reply_code == _NOT_FOUND and exchange in reason.reply_text:
            return SubscriptionError(
                f"The exchange {exchange} does not exist on the broker; have the worker's operator run "
                "`allocation-worker topology`."
            )
    if reason.reply_code == _PRECONDITION_FAILED and "inequivalent" in reason.reply_text:
        return SubscriptionError(
            f"The queue {queue} exists on the broker with other arguments ({reason.reply_text}); subscribe "
            "under another name. What arrives while a queue is deleted is lost to it; `allocation-worker replay` sends "
            "it again."
        )
    if reason.reply_code == _ACCESS_REFUSED:
        return SubscriptionError(f"The broker refused: {reason.reply_text}.")
    return None
