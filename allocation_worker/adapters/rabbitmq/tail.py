"""Shows events as they are published, from a temporary queue."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from threading import Event
from typing import NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential,
    wait_random,
)

from allocation_contracts.names import EVENTS_EXCHANGE
from allocation_contracts.properties import AmqpProperties
from allocation_worker.adapters.rabbitmq.errors import (
    NOT_FOUND,
    RUN_TOPOLOGY,
    BrokerError,
    TopologyMissingError,
    refused,
)
from allocation_worker.adapters.rabbitmq.urls import connect_any

_NAME = "allocation-worker tail"
_LOOK_UP_EVERY = 0.5
_PREFETCH = 500
_PAUSE = wait_exponential(multiplier=0.2, max=5) + wait_random(0, 1)


class SeenEvent(NamedTuple):
    """An event as it was received, not validated."""

    properties: AmqpProperties
    body: bytes


def tail_events(
    urls: Sequence[str],
    routing_keys: Sequence[str],
    *,
    stopping: Event,
    on_listening: Callable[[], None],
    on_lost: Callable[[], None],
) -> Generator[SeenEvent | None]:
    """Yield events from now on, and None after every half second without one, until `stopping` is set.

    Events that are published while the connection is lost are missed.

    Args:
        urls: AMQP addresses, tried in turn.
        routing_keys: The events to show, such as `allocated`, or `#` for all.
        stopping: Ends it, within half a second, or after an attempt to connect. An exception from a signal handler
            would leave pika's connection in a state that cannot be closed.
        on_listening: Called whenever the queue is bound: events from then on are shown.
        on_lost: Called when the connection is lost. It is opened again, however long that takes.

    Raises:
        BrokerError: No broker could be reached at the start, or the broker's user may not read events.
        TopologyMissingError: The exchange for events does not exist.
    """
    patience = Retrying(
        retry=retry_if_exception_type(BrokerError),
        wait=_PAUSE,
        sleep=sleep_using_event(stopping),
        stop=stop_when_event_set(stopping),
        retry_error_callback=lambda _: None,
    )
    lost = False
    while not stopping.is_set():
        with ExitStack() as stack:

            def connect(stack: ExitStack = stack) -> pika.BlockingConnection:
                return stack.enter_context(connect_any(urls, _NAME))

            connection = patience(connect) if lost else connect()
            if connection is None:
                return
            try:
                yield from _listen(connection.channel(), routing_keys, stopping, on_listening)
            except ChannelClosedByBroker as error:
                if error.reply_code == NOT_FOUND:
                    raise TopologyMissingError(
                        f"The exchange {EVENTS_EXCHANGE} does not exist on the broker; {RUN_TOPOLOGY}"
                    ) from error
                raise refused(error) from error
            except (AMQPError, OSError):
                on_lost()
            lost = True


def _listen(
    channel: BlockingChannel, routing_keys: Sequence[str], stopping: Event, on_listening: Callable[[], None]
) -> Generator[SeenEvent | None]:
    queue = channel.queue_declare("", exclusive=True, auto_delete=True).method.queue or ""
    for key in routing_keys:
        channel.queue_bind(queue, EVENTS_EXCHANGE, key)
    channel.basic_qos(prefetch_count=_PREFETCH)
    on_listening()
    for method, properties, body in channel.consume(queue, inactivity_timeout=_LOOK_UP_EVERY):
        if stopping.is_set():
            return
        if method is None or properties is None or body is None:
            yield None
        else:
            yield SeenEvent(properties, body)
            channel.basic_ack(method.delivery_tag or 0)
