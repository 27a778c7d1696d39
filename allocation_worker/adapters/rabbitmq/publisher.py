"""Publishing events, from any thread, with a result for each."""

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Final, Generic, NamedTuple, Self, TypeVar

import pika
import structlog
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import BasicProperties

from allocation_contracts.amqp.confirms import ConfirmedChannel, Patience
from allocation_contracts.amqp.link import LinkFactory
from allocation_contracts.names import (
    APP_ID,
    CAUSATION_ID_HEADER,
    CONTENT_TYPE,
    EVENTS_EXCHANGE,
    TRACEPARENT_HEADER,
    TRACESTATE_HEADER,
)
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.errors import ACCESS_REFUSED, REMEDIES
from allocation_worker.adapters.rabbitmq.link import log_event, worker_link
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent

log = structlog.get_logger()

BLOCKED_TIMEOUT = 300.0

_PERSISTENT: Final = 2
_JOIN_TIME = 6.0
# Confirms come a few at a time. Waking the relay for each cost more than what it then did.
_WORTH_WAKING_FOR = 64


class Publication(NamedTuple):
    """A message ready for AMQP; `id` comes back in its `MessageResult`."""

    id: int
    exchange: str
    routing_key: str
    body: bytes
    properties: BasicProperties


T = TypeVar("T")


class ConfirmedPublisher(Generic[T]):
    """Publishes over a connection of its own, in a thread of its own, from its construction to `close`.

    Each message handed to `publish` gets exactly one result: LOST, if there is no connection or it is lost. After a
    loss, every message is LOST until `take_results` has reported the loss. Otherwise a caller that does not know of it
    yet would publish later messages before the lost ones. Call `publish` and `take_results` in one thread.

    Messages that were in flight when the broker closed the channel are NACKED: it refuses one of them, and the queues
    may have the others. The next connection is tried after a longer pause each time, until one message has an answer.

    Args:
        urls: AMQP addresses, tried in turn.
        convert: Makes a message ready; called in the network thread.
        wake: Called in the network thread when many results wait to be taken, when nothing is in flight any more, and
            when `connected` has changed.
        name: How the broker shows the connection.
        blocked_timeout: For how many seconds an alarm of the broker may block the connection before it is replaced.
        link: Makes the connection.
    """

    def __init__(
        self,
        urls: Sequence[str],
        convert: Callable[[T], Publication],
        wake: Callable[[], None],
        *,
        name: str,
        blocked_timeout: float = BLOCKED_TIMEOUT,
        link: LinkFactory = worker_link,
    ) -> None:
        self._convert = convert
        self._wake = wake
        self._confirms: ConfirmedChannel | None = None
        self._patience = Patience()
        self._results: list[MessageResult] = []
        self._in_flight = 0
        self._answers = False
        self.refusal: str | None = None
        """What the broker's user may not do, in the broker's words, until a message is answered."""
        self._losses = 0
        self._losses_reported = 0
        self._lock = Lock()
        self._link = link(
            urls, name=name, on_connected=self._connected, on_lost=self._lost, blocked_timeout=blocked_timeout
        )
        self._link.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether what is published now goes out."""
        return self._confirms is not None

    def publish(self, batch: Sequence[T]) -> None:
        """Publish these, in this order. The caller limits how many are in flight."""
        self._link.call_soon(partial(self._publish, batch, self._losses_reported))

    def take_results(self) -> list[MessageResult]:
        """Return the results since the last call."""
        with self._lock:
            taken, self._results = self._results, []
            self._losses_reported = self._losses
        return taken

    def close(self) -> None:
        """Close the connection and end the thread. What has no result gets none."""
        self._link.stop()
        self._link.join(_JOIN_TIME)

    def _connected(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        self._confirms = ConfirmedChannel(
            channel, link=self._link, patience=self._patience, log=log_event, on_closed=self._closed
        )
        self._answers = False
        self._wake()

    def _closed(self, reason: Exception) -> None:
        if isinstance(reason, ChannelClosedByBroker):
            self._log_refusal(reason)
            if reason.reply_code == ACCESS_REFUSED:
                self.refusal = reason.reply_text
        self._lost()
        self._link.reconnect()

    def _log_refusal(self, reason: ChannelClosedByBroker) -> None:
        log.error("publishing_refused", reason=reason.reply_text, remedy=REMEDIES.get(reason.reply_code))

    def _lost(self) -> None:
        if self._confirms is not None:
            # What was in flight has its result by now: a channel ends before its connection.
            with self._lock:
                self._losses += 1
            self._confirms = None
            self._wake()

    def _publish(self, batch: Sequence[T], losses_reported: int) -> None:
        self._in_flight += len(batch)
        confirms = self._confirms if losses_reported == self._losses else None
        for message in batch:
            ready = self._convert(message)
            answered = partial(self._answered, ready.id)
            if confirms is None:
                answered(PublishResult.LOST)
            else:
                confirms.publish(ready.exchange, ready.routing_key, ready.body, ready.properties, answered)
        if confirms is None:
            # It is a loss of its own: the one before may be reported by now, and this one is not.
            with self._lock:
                self._losses += 1

    def _answered(self, message_id: int, result: PublishResult) -> None:
        self._in_flight -= 1
        if result is PublishResult.LOST:
            if self._confirms is not None and isinstance(self._confirms.closed_by, ChannelClosedByBroker):
                result = PublishResult.NACKED
        elif not self._answers:
            self._answers = True
            self.refusal = None
            self._link.mark_healthy()
        with self._lock:
            self._results.append(MessageResult(message_id, result))
            waiting = len(self._results)
        if waiting == _WORTH_WAKING_FOR or not self._in_flight:
            self._wake()


class RabbitMQEventPublisher(ConfirmedPublisher[OutgoingEvent]):
    """Publishes events to their exchange."""

    def __init__(
        self,
        urls: Sequence[str],
        wake: Callable[[], None],
        *,
        name: str = "allocation-worker relay",
        blocked_timeout: float = BLOCKED_TIMEOUT,
        link: LinkFactory = worker_link,
    ) -> None:
        super().__init__(urls, _event, wake, name=name, blocked_timeout=blocked_timeout, link=link)


def _event(event: OutgoingEvent) -> Publication:
    return Publication(
        id=event.id,
        exchange=EVENTS_EXCHANGE,
        routing_key=event.routing_key,
        body=event.body,
        properties=event_properties(event),
    )


def event_properties(event: OutgoingEvent) -> BasicProperties:
    """Return the AMQP properties of an event; they are the same at every publication."""
    headers = {CAUSATION_ID_HEADER: event.causation_id}
    if event.traceparent is not None:
        headers[TRACEPARENT_HEADER] = event.traceparent
    if event.tracestate is not None:
        headers[TRACESTATE_HEADER] = event.tracestate
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
