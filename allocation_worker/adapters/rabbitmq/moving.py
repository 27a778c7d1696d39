"""Moves messages from one queue to another, in their order."""

import copy
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from typing import Self

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from allocation_contracts.amqp.lenient import UNDECODABLE, UndecodableProperties
from allocation_contracts.amqp.pika_internals import ack_later, forget_blocking_consumers
from allocation_contracts.amqp.urls import parse
from allocation_contracts.names import DEAD_LETTERS
from allocation_worker.adapters.rabbitmq.copies import dead_letter_copy, moved_copy
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.publisher import Publication
from allocation_worker.adapters.rabbitmq.until_confirmed import WINDOW, BlockingPublisher, publish_until_confirmed
from allocation_worker.adapters.rabbitmq.urls import connect_any
from allocation_worker.service_layer.outcomes import DeadLettered

_NAME = "allocation-worker topology"
_PREFETCH = 2 * WINDOW


@dataclass(frozen=True, slots=True)
class _Held:
    tag: int
    exchange: str
    routing_key: str
    properties: BasicProperties
    body: bytes


class Mover:
    """Moves messages from a queue to an exchange: each is acked once its copy is confirmed, and not before.

    A message that was copied and not yet acked when this process ends is copied again by the next one. Use it in a
    `with` block.

    Args:
        urls: AMQP addresses, tried in turn.
        source: The queue to take from.
        exchange: The exchange to publish to; a queue must be bound to it.
        queue: The queue that they belong to, for the dead letters.
        ours: Exchanges that only this program publishes to: on messages that came by them, the mark of a move counts.
    """

    def __init__(self, urls: Sequence[str], source: str, exchange: str, *, queue: str, ours: Sequence[str]) -> None:
        self._source = source
        self._queue = queue
        self._exchange = exchange
        self._ours = ours
        self._urls = urls
        self._frame_max = min(parse(url).parameters(_NAME).frame_max for url in urls)
        self._arrived: deque[_Held] = deque()
        self._stack = ExitStack()
        self.moved = 0
        """How many messages were moved."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._connection = stack.enter_context(connect_any(self._urls, _NAME))
            self._channel: BlockingChannel = self._connection.channel()
            self._channel.basic_qos(prefetch_count=_PREFETCH)
            self._tag = self._channel.basic_consume(self._source, self._put)
            self._publisher = stack.enter_context(BlockingPublisher[_Held](self._urls, self._ready, name=_NAME))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is None and not self._arrived:
                self._finish()
            elif self._channel.is_open:
                forget_blocking_consumers(self._channel)

    def move(self, *, idle: float, most: float = float("inf")) -> None:
        """Move what is there, until nothing has come for `idle` seconds, or for `most` seconds.

        Raises:
            BrokerError: The connection is lost, the broker confirms nothing for too long, or no queue takes a message.
        """
        until = time.monotonic() + most
        try:
            arrivals = self._arrivals(idle, until)
            for held, safe in publish_until_confirmed(self._publisher, arrivals, key=attrgetter("tag")):
                if not safe:
                    raise BrokerError(
                        f"No queue takes what is moved out of {self._source}; it is left there. Run the same again."
                    )
                self._ack(held)
        except AMQPError as error:
            raise _lost(error) from error

    def move_all(self, *, idle: float) -> None:
        """Move all that is there, until the queue is seen empty. Raises as `move`.

        Args:
            idle: For how many seconds nothing may come before it is looked whether the queue is empty.
        """
        while True:
            self.move(idle=idle)
            if self._nothing_left():
                return

    def _nothing_left(self) -> bool:
        """Ask twice: what the queue had handed out before the first answer has arrived before the second."""
        try:
            for _ in range(2):
                if self._channel.queue_declare(self._source, passive=True).method.message_count:
                    return False
                self._connection.process_data_events(time_limit=0)
        except AMQPError as error:
            raise _lost(error) from error
        return not self._arrived

    def _arrivals(self, idle: float, until: float) -> Iterator[_Held]:
        last = time.monotonic()
        while (now := time.monotonic()) < until:
            if self._arrived:
                yield self._arrived.popleft()
                last = time.monotonic()
            elif now >= last + idle:
                return
            else:
                self._connection.process_data_events(time_limit=last + idle - now)

    def _ack(self, held: _Held) -> None:
        ack_later(self._channel, held.tag)
        self.moved += 1

    def _finish(self) -> None:
        """Wait until the broker has applied all acks.

        It delays some of many acks, and drops them if the channel is closed; it answers a cancel after them.
        """
        try:
            if self._connection.is_open and self._channel.is_open:
                self._channel.basic_cancel(self._tag)
                self._channel.queue_declare(self._source, passive=True)
        except AMQPError as error:
            raise _lost(error) from error

    def _put(self, _channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        self._arrived.append(
            _Held(method.delivery_tag or 0, method.exchange or "", method.routing_key or "", properties, body)
        )

    def _ready(self, held: _Held) -> Publication:
        if isinstance(held.properties, UndecodableProperties):
            return self._refused(held, held.properties)
        moved_from = None if held.exchange in self._ours else held.exchange
        properties = moved_copy(held.properties, moved_from, self._frame_max)
        return Publication(held.tag, self._exchange, held.routing_key, held.body, properties)

    def _refused(self, held: _Held, properties: UndecodableProperties) -> Publication:
        """Return the dead letter that the worker would make of it: what pika cannot read, it cannot publish."""
        delivery = Delivery(
            tag=held.tag,
            queue=self._queue,
            generation=0,
            body=held.body,
            failures=0,
            routing_key=held.routing_key,
            exchange=held.exchange,
            properties=copy.copy(properties),
        )
        outcome = DeadLettered(reason=UNDECODABLE, detail=properties.detail)
        properties_of_copy = dead_letter_copy(delivery, outcome, self._frame_max)
        return Publication(held.tag, DEAD_LETTERS, held.routing_key, held.body, properties_of_copy)


def _lost(error: AMQPError) -> BrokerError:
    return BrokerError(f"The connection was lost while messages were moved ({error!r}). Run the same again.")
