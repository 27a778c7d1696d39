"""Publishing the events, from any thread, with an answer for every one."""

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock, Thread
from typing import Final, Generic, NamedTuple, Self, TypeVar

import pika
import structlog
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import BasicProperties

from allocation_contracts.names import (
    APP_ID,
    CAUSATION_ID_HEADER,
    CONTENT_TYPE,
    EVENTS_EXCHANGE,
    TRACEPARENT_HEADER,
)
from allocation_worker.adapters.rabbitmq.confirms import ConfirmedPublisher
from allocation_worker.adapters.rabbitmq.connection import ConnectionLoop
from allocation_worker.service_layer.outgoing import OutgoingEvent, Settlement, SettlementKind

__all__ = ["EventPublisher", "OutgoingEvent", "Publication", "Publisher", "Settlement", "SettlementKind"]

log = structlog.get_logger()

_PERSISTENT: Final = 2
_JOIN_TIME = 6.0
# Confirms come in dribs and drabs; waking for each of them cost more than what was then done.
_WORTH_WAKING_FOR = 64


class Publication(NamedTuple):
    """A message ready for AMQP; `id` comes back in its `Settlement`."""

    id: int
    exchange: str
    routing_key: str
    body: bytes
    properties: BasicProperties


BLOCKED_TIMEOUT = 300.0

T = TypeVar("T")


class Publisher(Generic[T]):
    """Publishes over a connection of its own, in a thread of its own, from its construction to `close`.

    Each message handed to `publish` is settled exactly once, as LOST where the connection was away or went away. After
    a loss, all is LOST until `take_settlements` has told of it: whoever does not know yet that something was lost would
    publish what comes after it. All of it is thread-safe, but for that: publish and take settlements in one thread.

    Args:
        urls: AMQP addresses, tried in turn.
        convert: Makes a message ready; called in the network thread.
        wake: Called, in the network thread, when a good number of settlements wait to be taken, when nothing is under
            way any more, and when `connected` has changed.
        name: What the broker shows the connection as.
        blocked_timeout: How many seconds an alarm of the broker may block the connection before it is given up and
            another is opened.
    """

    def __init__(
        self,
        urls: Sequence[str],
        convert: Callable[[T], Publication],
        wake: Callable[[], None],
        *,
        name: str,
        blocked_timeout: float = BLOCKED_TIMEOUT,
    ) -> None:
        self._convert = convert
        self._wake = wake
        self._loop = ConnectionLoop(
            urls, name=name, on_connected=self._open, on_lost=self._lost, blocked_timeout=blocked_timeout
        )
        self._confirms: ConfirmedPublisher | None = None
        self._settlements: list[Settlement] = []
        self._under_way = 0
        self._losses = 0
        self._losses_told = 0
        self._lock = Lock()
        self._thread = Thread(target=self._loop.run, name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """What is published now has a chance."""
        return self._confirms is not None

    def publish(self, batch: Sequence[T]) -> None:
        """Publish these, in this order; how many are under way at a time is for the caller to limit."""
        self._loop.call_soon(partial(self._publish, batch, self._losses_told))

    def take_settlements(self) -> list[Settlement]:
        """Those since this was last called."""
        with self._lock:
            taken, self._settlements = self._settlements, []
            self._losses_told = self._losses
        return taken

    def close(self) -> None:
        """Close the connection and end the thread. What was not settled stays so."""
        self._loop.stop()
        self._thread.join(_JOIN_TIME)

    def _open(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        self._confirms = ConfirmedPublisher(channel)
        channel.add_on_close_callback(self._closed)
        self._loop.lives()
        self._wake()

    def _closed(self, _channel: Channel, reason: Exception) -> None:
        if isinstance(reason, ChannelClosedByBroker):
            log.error("publishing_refused", reason=str(reason))
        self._lost()
        self._loop.reconnect()

    def _lost(self) -> None:
        if self._confirms is not None:
            # What was under way has been settled by now: the channel ends before its connection.
            with self._lock:
                self._losses += 1
            self._confirms = None
            self._wake()

    def _publish(self, batch: Sequence[T], losses_told: int) -> None:
        self._under_way += len(batch)
        confirms = self._confirms if losses_told == self._losses else None
        for message in batch:
            ready = self._convert(message)
            settled = partial(self._settle, ready.id)
            if confirms is None:
                settled(SettlementKind.LOST)
            else:
                confirms.publish(ready.exchange, ready.routing_key, ready.body, ready.properties, settled)
        if confirms is None:
            # A loss as any other: the one before may have been told of by now, and this one not.
            with self._lock:
                self._losses += 1

    def _settle(self, message_id: int, kind: SettlementKind) -> None:
        self._under_way -= 1
        with self._lock:
            self._settlements.append(Settlement(message_id, kind))
            waiting = len(self._settlements)
        if waiting == _WORTH_WAKING_FOR or not self._under_way:
            self._wake()


class EventPublisher(Publisher[OutgoingEvent]):
    """Publishes events to their exchange."""

    def __init__(
        self,
        urls: Sequence[str],
        wake: Callable[[], None],
        *,
        name: str = "allocation-worker relay",
        blocked_timeout: float = BLOCKED_TIMEOUT,
    ) -> None:
        super().__init__(urls, _event, wake, name=name, blocked_timeout=blocked_timeout)


def _event(event: OutgoingEvent) -> Publication:
    return Publication(
        id=event.id,
        exchange=EVENTS_EXCHANGE,
        routing_key=event.routing_key,
        body=event.body,
        properties=event_properties(event),
    )


def event_properties(event: OutgoingEvent) -> BasicProperties:
    """The same for every publication of an event."""
    headers = {CAUSATION_ID_HEADER: event.causation_id}
    if event.traceparent is not None:
        headers[TRACEPARENT_HEADER] = event.traceparent
    return BasicProperties(
        content_type=CONTENT_TYPE,
        headers=headers,
        delivery_mode=_PERSISTENT,
        correlation_id=event.correlation_id,
        message_id=event.message_id,
        timestamp=event.timestamp,
        type=event.type,
        app_id=APP_ID,
    )
