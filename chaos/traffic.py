"""The programs around the service: one publishes commands, one watches events, one reads all events at the end."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import BasicProperties

import allocation_contracts as contracts
from allocation_contracts.amqp.queues import NO_DELIVERY_LIMIT
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.urls import connect_any
from chaos.orders import POISON, Orders
from harness.checker.answers import OUTCOMES
from harness.checker.messages import ReceivedEvent, SentCommand
from harness.command_publisher import CommandPublisher

RECORD = "chaos.record"
"""A queue bound to all events. It is read at the end only, so it keeps their order."""
WATCHED = "chaos.watched"
MOST_UNCONFIRMED = 2000
_PATIENCE = 60.0
_QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}

log = structlog.get_logger()


def declare(urls: Sequence[str]) -> None:
    """Declare both queues."""
    with connect_any(urls) as connection:
        channel = connection.channel()
        for queue in (RECORD, WATCHED):
            channel.queue_declare(queue, durable=True, arguments=_QUORUM)
            channel.queue_bind(queue, contracts.EVENTS_EXCHANGE, "#")


class Upstream:
    """Publishes commands, each until it is confirmed, under the same message_id."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._publisher = CommandPublisher(urls)
        self._settler = threading.Thread(target=self._settle, name="upstream", daemon=True)
        self._ended = threading.Event()
        self.sent: dict[str, SentCommand] = {}
        self.sent_at: dict[str, float] = {}
        self.poison: dict[str, bytes] = {}
        self.published_twice = 0

    def __enter__(self) -> Self:
        self._settler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._settler.join(10)
        self._publisher.close()

    @property
    def confirmed(self) -> set[str]:
        """The message_ids that the broker has confirmed."""
        return self._publisher.confirmed

    @property
    def unconfirmed(self) -> int:
        return len(self.sent) - len(self.confirmed)

    def send(self, command: contracts.Command, message_id: str) -> None:
        """Publish a command, for the first time or again."""
        if message_id in self.sent:
            self.published_twice += 1
        else:
            body = contracts.encode(command)
            self.sent[message_id] = SentCommand(message_id=message_id, type=command.TYPE, body=body)
            self.sent_at[message_id] = time.monotonic()
        self._publisher.publish(command, message_id=message_id)

    def send_poison(self, bodies: Sequence[bytes]) -> None:
        """Publish an unreadable message until it is confirmed."""
        for body in bodies:
            message_id = f"poison-{len(self.poison)}"
            self.poison[message_id] = body
            properties = BasicProperties(message_id=message_id, type=contracts.Allocate.TYPE, delivery_mode=2)
            while not self._ended.is_set():
                try:
                    with connect_any(self._urls) as connection:
                        channel = connection.channel()
                        channel.confirm_delivery()
                        channel.basic_publish(
                            contracts.COMMANDS_EXCHANGE, contracts.Allocate.ROUTING_KEY, body, properties
                        )
                except (AMQPError, BrokerError, OSError) as error:
                    log.info("poison_published_again", error=repr(error))
                    self._ended.wait(0.5)
                else:
                    break

    def _settle(self) -> None:
        while not self._ended.is_set():
            with suppress(BrokerError):
                self._publisher.wait_confirmed(within=1)
            self._ended.wait(0.05)


class CommandStream:
    """Publishes commands at a steady rate. A fault may publish some of them twice.

    Args:
        upstream: The publisher.
        orders: The commands.
        rate: Commands per second, as long as the broker keeps up.
    """

    def __init__(self, upstream: Upstream, orders: Orders, rate: float) -> None:
        self._upstream = upstream
        self._orders = orders
        self._rate = rate
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._ended = threading.Event()
        self._commands: list[tuple[str, contracts.Command]] = []
        self.twice = False

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Publish until the end of the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()

    def publish_again(self, rng: random.Random, count: int) -> None:
        """Publish some earlier commands again, at random."""
        for message_id, command in rng.sample(self._commands, min(count, len(self._commands))):
            self._upstream.send(command, message_id)

    def poison(self) -> None:
        """Publish bodies that break the contract."""
        self._upstream.send_poison(POISON)

    def _run(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._ended.wait(0.02):
            due = int((time.monotonic() - began) * self._rate)
            # Commands that fall due while the broker is unreachable are skipped.
            if self._upstream.unconfirmed < MOST_UNCONFIRMED:
                for number in range(sent, due):
                    self._send(f"command-{number}", self._orders.next())
            sent = due

    def _send(self, message_id: str, command: contracts.Command) -> None:
        self._commands.append((message_id, command))
        self._upstream.send(command, message_id)
        if self.twice:
            self._upstream.send(command, message_id)


class Watcher:
    """Receives events, and records the time of each command's answer."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._thread = threading.Thread(target=self._listen, name="watcher", daemon=True)
        self._ended = threading.Event()
        self.answered_at: dict[str, float] = {}
        self.events = 0
        self.types: defaultdict[str, int] = defaultdict(int)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(10)

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                with connect_any(self._urls) as connection:
                    channel = connection.channel()
                    channel.basic_qos(prefetch_count=500)
                    channel.basic_consume(WATCHED, self._take)
                    while not self._ended.is_set():
                        connection.process_data_events(time_limit=0.1)
            except (AMQPError, BrokerError, OSError) as error:
                log.info("watching_again", error=repr(error))
                self._ended.wait(0.3)

    def _take(self, channel: Any, method: Any, properties: BasicProperties, _body: bytes) -> None:  # noqa: ANN401 - pika's
        cause = str((properties.headers or {}).get(contracts.CAUSATION_ID_HEADER, ""))
        self.events += 1
        if cause not in self.answered_at and any(properties.type in types for types in OUTCOMES.values()):
            self.answered_at[cause] = time.monotonic()
        channel.basic_ack(method.delivery_tag)


def read_record(urls: Sequence[str]) -> list[ReceivedEvent]:
    """Return all published events in order. Call this once the service is idle.

    Raises:
        BrokerError: The queue delivered fewer events than it holds.
    """
    events: list[ReceivedEvent] = []
    with connect_any(urls) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=2000)
        waiting = _count(channel, RECORD)
        if not waiting:
            return events
        for method, properties, body in channel.consume(RECORD, inactivity_timeout=_PATIENCE):
            if method is None or properties is None or body is None:
                raise BrokerError(f"{RECORD} holds {waiting} events, and gave {len(events)}.")
            events.append(ReceivedEvent.of(properties, body, routing_key=method.routing_key or ""))
            if len(events) == waiting:
                break
            if len(events) % 1000 == 0:
                channel.basic_ack(method.delivery_tag or 0, multiple=True)
        channel.cancel()
    return events


def read_dead_letters(urls: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return the message_id and the body of each dead letter."""
    found: list[tuple[str, bytes]] = []
    with connect_any(urls) as connection:
        channel = connection.channel()
        waiting = _count(channel, contracts.DEAD_LETTERS)
        while len(found) < waiting:
            method, properties, body = channel.basic_get(contracts.DEAD_LETTERS)
            if method is None or properties is None or body is None:
                raise BrokerError(f"{contracts.DEAD_LETTERS} holds {waiting} messages, and gave {len(found)}.")
            found.append((properties.message_id or "", body))
    return found


def _count(channel: BlockingChannel, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)
