"""An external program, which publishes commands and receives every event. It uses the wire contract only."""

import threading
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

import allocation_contracts as contracts
from allocation_worker.adapters.rabbitmq.errors import CONNECTION_ERRORS, BrokerError
from allocation_worker.adapters.rabbitmq.urls import connect_any
from allocation_worker.testing.waiting import wait_until
from harness.checker.answers import OUTCOMES
from harness.checker.messages import ReceivedEvent, SentCommand
from harness.command_publisher import CommandPublisher

_MARK = "mark"
"""The type of our own messages in the event queue, between its events."""

log = structlog.get_logger()


class ExternalClient:
    """Publishes with pipelined confirms, and keeps all events in order.

    Args:
        amqp_url: The broker's address. The topology must be declared.
    """

    def __init__(self, amqp_url: str) -> None:
        self._url = amqp_url
        self.queue = f"external-client.{uuid4()}"
        """The name of its event queue."""
        self._publisher = CommandPublisher([amqp_url])
        self._listener = threading.Thread(target=self._listen, name="external-client", daemon=True)
        self._listening = threading.Event()
        self._ended = threading.Event()
        self.received: list[ReceivedEvent] = []
        self.outcomes: Counter[str] = Counter()
        """The number of different outcome events, by the command's message_id."""
        self.answered_at: list[float] = []
        """The time of each of these, by `time.monotonic`, in order."""
        self._seen: set[tuple[str, str]] = set()
        self._sent: dict[str, SentCommand] = {}
        self._marks: set[str] = set()

    def __enter__(self) -> Self:
        self._listener.start()
        if not self._listening.wait(30):
            raise TimeoutError("The event queue could not be declared within 30 s.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._publisher.close()
        self._listener.join(10)

    @property
    def sent(self) -> list[SentCommand]:
        """The commands that the broker has confirmed."""
        confirmed = self._publisher.confirmed
        return [command for message_id, command in self._sent.items() if message_id in confirmed]

    def send(self, command: contracts.Command, *, message_id: str | None = None, **properties: Any) -> str:  # noqa: ANN401 - checked by command_properties
        """Publish a command and return its message_id. It is confirmed once `wait_confirmed` returns."""
        message_id = message_id or str(uuid4())
        body = contracts.encode(command)
        self._sent.setdefault(message_id, SentCommand(message_id=message_id, type=command.TYPE, body=body))
        self._publisher.publish(command, message_id=message_id, **properties)
        return message_id

    def publish_raw(self, body: bytes, *, routing_key: str, properties: BasicProperties) -> None:
        """Publish any bytes to the commands exchange, and wait for the confirm."""
        with connect_any([self._url]) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(contracts.COMMANDS_EXCHANGE, routing_key, body, properties)

    def wait_confirmed(self, within: float = 60) -> None:
        """Wait until the broker has confirmed all commands."""
        self._publisher.wait_confirmed(within)

    def wait_answered(self, message_ids: Iterable[str] | None = None, within: float = 60) -> None:
        """Wait until all commands are confirmed, and the given ones, or all, have an outcome.

        Raises:
            BrokerError: Some commands were not confirmed in time.
            TimeoutError: Some commands have no outcome. The text names a few, and the last events.
        """
        wanted = set(self._sent if message_ids is None else message_ids)
        deadline = time.monotonic() + within
        self.wait_confirmed(within)
        wait_until(
            lambda: wanted <= self.outcomes.keys(),
            within=deadline - time.monotonic(),
            otherwise=lambda: (
                f"{len(wanted - self.outcomes.keys())} of {len(wanted)} commands have no outcome, such as "
                f"{sorted(wanted - self.outcomes.keys())[:5]}; the last events: {self.received[-5:]}"
            ),
        )

    def catch_up(self, within: float = 60) -> None:
        """Wait until all events have been taken that are in the queue by now.

        Raises:
            TimeoutError: They were not taken in time.
        """
        mark = str(uuid4())
        with connect_any([self._url]) as connection:
            connection.channel().basic_publish("", self.queue, b"", BasicProperties(type=_MARK, message_id=mark))
        wait_until(lambda: mark in self._marks, within=within, otherwise=lambda: f"{self.queue} was not read.")

    def answers(self, message_id: str) -> list[ReceivedEvent]:
        """Return the events that this command has caused so far."""
        return [event for event in self.received if event.causation_id == message_id]

    def ask(self, command: contracts.Command, *, within: float = 60, **properties: Any) -> ReceivedEvent:  # noqa: ANN401 - as send
        """Publish a command, wait for its outcome, and return it."""
        message_id = self.send(command, **properties)
        self.wait_answered([message_id], within)
        return self.answers(message_id)[0]

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                with connect_any([self._url]) as connection:
                    self._consume(connection.channel())
            except (*CONNECTION_ERRORS, BrokerError) as error:
                log.info("client_listening_again", error=repr(error))
                self._ended.wait(0.2)

    def _consume(self, channel: BlockingChannel) -> None:
        channel.queue_declare(self.queue, durable=True)
        channel.queue_bind(self.queue, contracts.EVENTS_EXCHANGE, "#")
        channel.basic_qos(prefetch_count=1000)
        channel.basic_consume(self.queue, self._take)
        self._listening.set()
        while not self._ended.is_set():
            channel.connection.process_data_events(time_limit=0.1)
        channel.queue_delete(self.queue)

    def _take(self, channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        if properties.type == _MARK:
            self._marks.add(str(properties.message_id))
            channel.basic_ack(method.delivery_tag or 0)
            return
        event = ReceivedEvent.of(properties, body, routing_key=method.routing_key or "")
        self.received.append(event)
        command = self._sent.get(event.causation_id)
        key = (event.message_id, event.causation_id)
        if command is not None and event.type in OUTCOMES[command.type] and key not in self._seen:
            self._seen.add(key)
            self.outcomes[event.causation_id] += 1
            self.answered_at.append(time.monotonic())
        channel.basic_ack(method.delivery_tag or 0)


def read_dead_letters(amqp_url: str, *, expected: int, within: float = 30) -> list[tuple[BasicProperties, bytes]]:
    """Remove and return `expected` dead letters, or those that arrive in time."""
    taken: list[tuple[BasicProperties, bytes]] = []
    deadline = time.monotonic() + within
    with connect_any([amqp_url]) as connection:
        channel = connection.channel()
        while len(taken) < expected and time.monotonic() < deadline:
            method, properties, body = channel.basic_get(contracts.DEAD_LETTERS, auto_ack=True)
            if method is None or properties is None or body is None:
                connection.process_data_events(time_limit=0.05)
            else:
                taken.append((properties, body))
    return taken
