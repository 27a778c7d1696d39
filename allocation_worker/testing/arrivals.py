"""Collects the worker's events, as contract models, and its dead letters, in order of arrival."""

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
    """An event with its properties."""

    event: contracts.Event
    message_id: str
    correlation_id: str
    causation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead-lettered message.

    Attributes:
        reason: A slug, such as `invalid-json`; `unroutable` if the broker found no queue for the message.
        detail: One sentence; empty if the broker dead-lettered the message itself.
        message_id: As it was sent, or empty.
        type: As it was sent, or empty.
        body: As it was sent.
        headers: As they were sent, with those that the worker has added.
    """

    reason: str
    detail: str
    message_id: str
    type: str
    body: bytes
    headers: Mapping[str, Any]


class Arrivals:
    """A queue bound to all events and dead letters, read whenever `take` is called. Use it from one thread.

    Events of types that this version does not know are left out: a test may publish one, to see what its program does.

    Args:
        urls: The broker's nodes. The topology must be declared.
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
        """Read what has arrived; if that is nothing, wait for the next message.

        Args:
            within: Seconds to wait at most.

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
        """Read everything that is in the queue now. Raise the same errors as `take`."""
        self._patiently(self._catch_up)

    def _catch_up(self) -> None:
        channel = self._channel()
        waiting = 1
        while waiting:
            # Messages that the queue delivered before its first answer may arrive after that answer, but they arrive
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
        """Close the connection if it is still open, as it is after a channel error."""
        if self._connection is not None and self._connection.is_open:
            with suppress(*CONNECTION_ERRORS):
                self._connection.close()
        self._connection = None

    def start_over(self) -> None:
        """Discard everything that has arrived, and everything in the queue."""
        self._delete_queue()
        self._queue = _new_queue()
        self._channel()
        self.events.clear()
        self.dead_letters.clear()

    def close(self) -> None:
        """Remove the queue."""
        self._delete_queue().close()

    def _delete_queue(self) -> pika.BlockingConnection:
        """Stop consuming and delete the queue. Return the connection, which stays open."""
        channel = self._channel()
        channel.close()
        channel.connection.channel().queue_delete(self._queue)
        return channel.connection

    def story(self) -> str:
        """Return everything that has arrived, as text."""
        return "\n".join(
            [
                *_listed("event", [show(arrival.event) for arrival in self.events]),
                *_listed("dead letter", [_show_dead(letter) for letter in self.dead_letters]),
            ]
        )

    def _channel(self) -> BlockingChannel:
        """Return the open channel. Connect again and consume the same queue if the connection was lost."""
        if self._connection is None or not self._connection.is_open:
            # pika tries several parameters in turn.
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
            if properties.type is None or properties.type in contracts.EVENTS:
                self.events.append(_arrival(properties, body))
        else:
            self.dead_letters.append(_dead_letter(method, properties, body))
        channel.basic_ack(method.delivery_tag or 0)


def show(message: Message) -> str:
    """Return one line, such as `Allocated orderid='o1' sku='CHAIR' ...`, with the fields that its body has."""
    return " ".join([type(message).__name__, *(f"{name}={value!r}" for name, value in message.model_dump().items())])


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
    reason = detail = ""
    # Only the worker's own copies say why they are there. What the broker has moved has a death history.
    if method.exchange == contracts.DEAD_LETTERS and "x-death" not in headers:
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
    # Between two calls of `take`, nothing would answer a heartbeat.
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    return parameters
