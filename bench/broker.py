"""The broker from outside: filling a queue, counting, and emptying a queue."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self

import pika
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic

from allocation_contracts import CAUSATION_ID_HEADER, COMMANDS_EXCHANGE, EVENTS_EXCHANGE
from bench.workloads import EncodedCommand

SUBSCRIBER = "bench.subscriber"
_WINDOW = 4000
_QUORUM = {"x-queue-type": "quorum"}


class _Filler:
    """Publishes commands with a window of confirms; raises what goes wrong."""

    def __init__(self, url: str, messages: Iterable[EncodedCommand], count: int, told: Callable[[int], None]) -> None:
        self._messages = iter(messages)
        self._count = count
        self._told = told
        self._sent = 0
        self._confirmed = 0
        self._channel: Channel
        self._connection = pika.SelectConnection(
            pika.URLParameters(url), on_open_callback=lambda it: it.channel(on_open_callback=self._opened)
        )

    def run(self) -> None:
        if self._count:
            self._connection.ioloop.start()

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.confirm_delivery(self._on_confirm)
        self._send()

    def _send(self) -> None:
        room = min(_WINDOW - (self._sent - self._confirmed), self._count - self._sent)
        for message in islice(self._messages, room):
            self._channel.basic_publish(COMMANDS_EXCHANGE, message.routing_key, message.body, message.properties)
        self._sent += room

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        if isinstance(frame.method, Basic.Nack):
            raise RuntimeError("The broker refused a command.")  # noqa: TRY004 - nothing wrong with the type
        # A window's confirms may come out of order; those of a quorum queue come in order.
        self._confirmed = max(self._confirmed, frame.method.delivery_tag)
        self._told(self._confirmed)
        if self._confirmed == self._count:
            self._connection.close()
            self._connection.ioloop.stop()
        elif self._sent - self._confirmed < _WINDOW // 2:
            self._send()


def fill(
    url: str, messages: Iterable[EncodedCommand], count: int, told: Callable[[int], None] = lambda _: None
) -> None:
    """Publish so many commands; all are confirmed when this returns. `told` hears how many are."""
    _Filler(url, messages, count, told).run()


class Watch:
    """Counts what waits in queues, on one connection; cheap enough to ask fifty times a second."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def subscribe(self) -> None:
        """Bind a durable quorum queue to every event; nobody takes from it during a run."""
        self._channel.queue_declare(SUBSCRIBER, durable=True, arguments=_QUORUM)
        self._channel.queue_bind(SUBSCRIBER, EVENTS_EXCHANGE, "#")

    def depth(self, queue: str) -> int:
        """How many messages wait."""
        return self._channel.queue_declare(queue, passive=True).method.message_count

    def send(self, messages: Sequence[EncodedCommand]) -> None:
        """Publish a few commands on the same connection."""
        for message in messages:
            self._channel.basic_publish(COMMANDS_EXCHANGE, message.routing_key, message.body, message.properties)

    def take_events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Empty the subscriber's queue: each event's causation_id and body, in their order."""
        for method, properties, body in self._channel.consume(SUBSCRIBER, auto_ack=True, inactivity_timeout=1):
            if method is None or properties is None or body is None:
                break
            yield str((properties.headers or {})[CAUSATION_ID_HEADER]), json.loads(body)
        self._channel.cancel()
