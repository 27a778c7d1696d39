"""Looking at events as they come, from a queue that lives as long as the look."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from tenacity import Retrying, retry_if_exception_type, wait_exponential, wait_random

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
    """An event as it came off the wire, unchecked."""

    properties: AmqpProperties
    body: bytes


def tail_events(
    urls: Sequence[str], routing_keys: Sequence[str], *, on_listening: Callable[[], None], on_lost: Callable[[], None]
) -> Generator[SeenEvent | None]:
    """Events from now on, and None whenever there was none for half a second; it never ends.

    What comes while the connection is lost is missed.

    Args:
        urls: The broker's nodes, tried in turn.
        routing_keys: Which events, such as `allocated`, or `#` for all.
        on_listening: Told each time that from now on nothing is missed.
        on_lost: Told when the connection was lost; it is opened again for as long as it takes.

    Raises:
        BrokerError: No broker could be reached at the beginning.
        TopologyMissingError: There is no exchange for events.
    """
    patience = Retrying(retry=retry_if_exception_type(BrokerError), wait=_PAUSE)
    lost = False
    while True:
        with ExitStack() as stack:

            def connect(stack: ExitStack = stack) -> pika.BlockingConnection:
                return stack.enter_context(connect_any(urls, _NAME))

            connection = patience(connect) if lost else connect()
            try:
                yield from _listen(connection.channel(), routing_keys, on_listening)
            except ChannelClosedByBroker as error:
                if error.reply_code == NOT_FOUND:
                    raise TopologyMissingError(
                        f"The exchange {EVENTS_EXCHANGE} does not stand there; {RUN_TOPOLOGY}"
                    ) from error
                raise refused(error) from error
            except (AMQPError, OSError):
                on_lost()
            lost = True


def _listen(
    channel: BlockingChannel, routing_keys: Sequence[str], on_listening: Callable[[], None]
) -> Generator[SeenEvent | None]:
    queue = channel.queue_declare("", exclusive=True, auto_delete=True).method.queue or ""
    for key in routing_keys:
        channel.queue_bind(queue, EVENTS_EXCHANGE, key)
    channel.basic_qos(prefetch_count=_PREFETCH)
    on_listening()
    for method, properties, body in channel.consume(queue, inactivity_timeout=_LOOK_UP_EVERY):
        if method is None or properties is None or body is None:
            yield None
        else:
            yield SeenEvent(properties, body)
            channel.basic_ack(method.delivery_tag or 0)
