"""What came out of the worker: its events, typed, and the dead letters, in the order of their coming."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

import allocation_contracts as contracts
from allocation_contracts.message import Message
from allocation_worker.adapters.rabbitmq.errors import CONNECTION_ERRORS

_AGAIN_AFTER = 0.1
_BACK_WITHIN = 20.0
_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedEvent:
    """An event, with what stood beside it."""

    event: contracts.Event
    message_id: str
    correlation_id: str
    causation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that nobody could do anything with.

    Attributes:
        reason: A slug, such as `invalid-json`; `unroutable` where the broker found no queue for it.
        detail: One sentence, or empty where the broker put it there itself.
        message_id: As it was sent, or empty.
        type: As it was sent, or empty.
        body: As it was sent.
        headers: As they were sent, and what the worker has added.
    """

    reason: str
    detail: str
    message_id: str
    type: str
    body: bytes
    headers: Mapping[str, Any]


class Arrivals:
    """A queue of its own for all that comes out, read whenever `take` is called. For one thread.

    Args:
        urls: The broker's nodes; the topology stands on it.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._parameters = [_without_heartbeat(url) for url in urls]
        self._connection: pika.BlockingConnection | None = None
        self._open: BlockingChannel | None = None
        self._queue = _new_queue()
        self.events: list[ArrivedEvent] = []
        self.dead_letters: list[DeadLetter] = []
        self._channel()

    def take(self, within: float) -> None:
        """Take what has come; if there is nothing, wait for something for so many seconds at most.

        Raises:
            ConnectionError: The broker could not be reached for 20 s.
        """
        deadline = monotonic() + within
        before = len(self.events) + len(self.dead_letters)
        while len(self.events) + len(self.dead_letters) == before:
            left = max(0.0, deadline - monotonic())
            self._patiently(lambda left=left: self._channel().connection.process_data_events(time_limit=left))  # type: ignore[misc] # mypy does not infer lambdas with defaults
            if left == 0:
                return

    def catch_up(self) -> None:
        """Take all that stands in the queue by now; errors as `take`."""
        self._patiently(self._catch_up)

    def _catch_up(self) -> None:
        channel = self._channel()
        waiting = 1
        while waiting:
            # What the queue had handed out before it answered the first may be sent after that answer, but comes
            # before the second.
            for _ in range(2):
                waiting = channel.queue_declare(self._queue, passive=True).method.message_count
            channel.connection.process_data_events(time_limit=0)

    def _patiently(self, look: Callable[[], object]) -> None:
        gives_up = monotonic() + _BACK_WITHIN
        while True:
            try:
                look()
            except CONNECTION_ERRORS as error:
                self._drop()
                if monotonic() > gives_up:
                    raise ConnectionError(f"The stack's broker cannot be reached: {error!r}") from error
                sleep(_AGAIN_AFTER)
            else:
                return

    def _drop(self) -> None:
        """Leave the connection; where only its channel was closed, it is still open."""
        if self._connection is not None and self._connection.is_open:
            with suppress(*CONNECTION_ERRORS):
                self._connection.close()
        self._connection = None

    def start_over(self) -> None:
        """Forget all that has come, and all that is on its way in the queue."""
        self._delete_queue()
        self._queue = _new_queue()
        self._channel()
        self.events.clear()
        self.dead_letters.clear()

    def close(self) -> None:
        """Remove the queue."""
        self._delete_queue().close()

    def _delete_queue(self) -> pika.BlockingConnection:
        """Leave the queue, and delete it; the connection, which is open."""
        channel = self._channel()
        channel.close()
        channel.connection.channel().queue_delete(self._queue)
        return channel.connection

    def story(self) -> str:
        """All that has arrived, for a person to read."""
        return "\n".join(
            [
                *_listed("event", [show(arrival.event) for arrival in self.events]),
                *_listed("dead letter", [_show_dead(letter) for letter in self.dead_letters]),
            ]
        )

    def _channel(self) -> BlockingChannel:
        """The open channel; on a connection made again, where the last was lost, to the same queue."""
        if self._connection is None or not self._connection.is_open:
            # pika takes the next of several parameters where one does not answer.
            self._connection = pika.BlockingConnection(self._parameters)
            self._open = None
        if self._open is None or not self._open.is_open:
            self._open = self._connection.channel()
            self._open.queue_declare(self._queue, durable=True)
            self._open.queue_bind(self._queue, contracts.EVENTS_EXCHANGE, "#")
            self._open.queue_bind(self._queue, contracts.DEAD_LETTERS, "")
            self._open.basic_qos(prefetch_count=1000)
            self._open.basic_consume(self._queue, self._arrived)
        return self._open

    def _arrived(
        self, channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        if method.exchange == contracts.EVENTS_EXCHANGE:
            self.events.append(_arrival(properties, body))
        else:
            self.dead_letters.append(_dead_letter(method, properties, body))
        channel.basic_ack(method.delivery_tag or 0)


def show(message: Message) -> str:
    """One line: `Allocated orderid='o1' sku='CHAIR' ...`."""
    return " ".join([type(message).__name__, *(f"{name}={value!r}" for name, value in message)])


def _show_dead(letter: DeadLetter) -> str:
    return f"{letter.type or 'no type'} {letter.message_id!r}: {letter.reason}. {letter.detail} {letter.body[:200]!r}"


def _listed(noun: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return [f"No {noun} has arrived."]
    title = f"1 {noun} has arrived:" if len(lines) == 1 else f"{len(lines)} {noun}s have arrived:"
    hidden = [f"  ... {len(lines) - _SHOWN} before these"] if len(lines) > _SHOWN else []
    return [title, *hidden, *(f"  {line}" for line in lines[-_SHOWN:])]


def _arrival(properties: BasicProperties, body: bytes) -> ArrivedEvent:
    return ArrivedEvent(
        event=contracts.read_event(properties.type, body),
        message_id=properties.message_id or "",
        correlation_id=properties.correlation_id or "",
        causation_id=str((properties.headers or {}).get(contracts.CAUSATION_ID_HEADER, "")),
    )


def _dead_letter(method: Basic.Deliver, properties: BasicProperties, body: bytes) -> DeadLetter:
    headers = properties.headers or {}
    reason, detail = str(headers.get("x-reason", "")), str(headers.get("x-detail", ""))
    if method.exchange == contracts.COMMANDS_EXCHANGE:
        reason = reason or "unroutable"
        detail = detail or f"No queue takes the routing key {method.routing_key!r}."
    return DeadLetter(
        reason=reason or str(headers.get("x-first-death-reason", "unknown")),
        detail=detail,
        message_id=properties.message_id or "",
        type=properties.type or "",
        body=body,
        headers=headers,
    )


def _new_queue() -> str:
    return f"allocation-stack.{uuid4().hex}"


def _without_heartbeat(url: str) -> pika.URLParameters:
    # Between two calls nobody would answer one.
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    return parameters
