"""Reads the dead letters and removes some of them."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from allocation_contracts.amqp.pika_internals import ack_later
from allocation_contracts.names import DEAD_LETTERS
from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.adapters.rabbitmq.errors import (
    NOT_FOUND,
    RUN_TOPOLOGY,
    BrokerError,
    TopologyMissingError,
    refused,
)
from allocation_worker.adapters.rabbitmq.replacing_names import original_exchange
from allocation_worker.adapters.rabbitmq.urls import connect_any

_LARGEST_PREFETCH = 65_535
_PATIENCE = 5.0
_LOOK_AGAIN = 0.05
_TELL_EVERY = 100


class DeadLetterQueue:
    """The dead letters that were in the queue when it was opened.

    Each stays unacknowledged until it is removed or the channel is closed. A quorum queue keeps the order of messages
    that are returned together, but puts one that is returned alone behind the others. The broker keeps the messages, so
    memory does not grow with their number.

    Args:
        channel: A new, open channel.
        on_progress: Called from time to time with the number of dead letters read, and the number of all.
    """

    def __init__(self, channel: BlockingChannel, on_progress: Callable[[int, int], None]) -> None:
        self._channel = channel
        self._on_progress = on_progress
        self._arrived: deque[HeldDeadLetter] = deque()
        self._consumers: list[str] = []
        self._in_hand = 0
        self._seen = 0
        self._removed = 0
        self._total = self._count()

    def __iter__(self) -> Iterator[HeldDeadLetter]:
        while (letter := self.take()) is not None:
            yield letter

    def take(self) -> HeldDeadLetter | None:
        """Return the next dead letter; None after the last.

        Raises:
            BrokerError: The next one does not arrive, or the connection is lost.
        """
        if self._seen == self._total:
            return None
        with _explained():
            if self._in_hand >= _LARGEST_PREFETCH * len(self._consumers):
                self._consume()
            self._wait_for_arrival()
        self._seen += 1
        self._in_hand += 1
        if self._seen % _TELL_EVERY == 0 or self._seen == self._total:
            self._on_progress(self._seen, self._total)
        return self._arrived.popleft()

    def remove(self, letter: HeldDeadLetter) -> None:
        """Remove a dead letter from the queue. The ack is sent by the next `take` that waits, or by `finish`.

        Raises:
            BrokerError: The connection is lost. The letters removed last may be in the queue again.
        """
        with _explained():
            ack_later(self._channel, letter.tag)
        self._in_hand -= 1
        self._removed += 1

    def finish(self) -> None:
        """Wait until the broker has applied all removals.

        The broker delays some of many acks, and drops them if the channel is closed (rabbitmq-server issue 10327). It
        answers a cancel after everything before it, and then applies the delayed acks.
        """
        if self._removed:
            with _explained():
                for tag in self._consumers:
                    self._channel.basic_cancel(tag)
                self._channel.queue_declare(DEAD_LETTERS, passive=True)

    def _count(self) -> int:
        """Return the number of messages, once no other consumer has any.

        The broker returns the messages of a process that was killed a moment after its end.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            found = self._channel.queue_declare(DEAD_LETTERS, passive=True).method
            if not found.consumer_count:
                return int(found.message_count)
            if time.monotonic() > deadline:
                raise BrokerError(f"Another program is reading {DEAD_LETTERS}; try again when it has ended.")
            self._channel.connection.sleep(_LOOK_AGAIN)

    def _consume(self) -> None:
        # The tags sort in the order of consuming, in which the broker returns the messages.
        self._channel.basic_qos(prefetch_count=min(_LARGEST_PREFETCH, self._total - self._seen))
        tag = f"dead-letters-{len(self._consumers):05}"
        self._consumers.append(self._channel.basic_consume(DEAD_LETTERS, self._put, consumer_tag=tag))

    def _put(self, _channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        self._arrived.append(
            HeldDeadLetter(
                tag=method.delivery_tag or 0,
                exchange=original_exchange(method.exchange or "", properties),
                routing_key=method.routing_key or "",
                properties=properties,
                body=body,
            )
        )

    def _wait_for_arrival(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self._arrived:
            self._channel.connection.process_data_events(time_limit=_PATIENCE)
            if not self._arrived and time.monotonic() > deadline:
                raise BrokerError(
                    f"Only {self._seen} of {self._total} dead letters came: something else takes them; look again."
                )


@contextmanager
def open_dead_letters(urls: Sequence[str], on_progress: Callable[[int, int], None]) -> Iterator[DeadLetterQueue]:
    """Yield the dead letters. After the block, those that were not removed are back in the queue, in their order.

    Args:
        urls: AMQP addresses, tried in turn.
        on_progress: As for DeadLetterQueue.

    Raises:
        BrokerError: No broker answers, another program reads the dead letters, or the connection is lost.
    """
    with connect_any(urls, "allocation-worker dead-letters") as connection:
        with _explained():
            queue = DeadLetterQueue(connection.channel(), on_progress)
        yield queue
        queue.finish()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise refused(error) from error
        raise TopologyMissingError(f"The queue {DEAD_LETTERS} does not exist on the broker; {RUN_TOPOLOGY}") from error
    except AMQPError as error:
        raise BrokerError(
            f"The connection to the dead letters is lost ({error!r}); those that were on hold are back in their queue."
        ) from error
