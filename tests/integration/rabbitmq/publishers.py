"""Every publisher behind one interface, for their shared suite."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from operator import attrgetter
from threading import Event
from time import monotonic
from typing import NamedTuple

from pika.spec import BasicProperties

from allocation_contracts import Allocate, Command, CreateBatch
from allocation_contracts.amqp import Outgoing, Publisher, RefusedError, UnreachableError, UnroutableError
from allocation_contracts.names import COMMANDS_EXCHANGE, EVENTS_EXCHANGE
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.publisher import Publication, RabbitMQEventPublisher
from allocation_worker.adapters.rabbitmq.until_confirmed import (
    BlockingPublisher,
    NotConfirmedError,
    publish_until_confirmed,
)
from allocation_worker.service_layer.outgoing import OutgoingEvent

Results = dict[int, PublishResult]

PATIENCE = 3.0
"""For how many seconds those that give up go on where there is no broker, or no room."""


class Message(NamedTuple):
    """A message to publish; `wanted`: whether a queue is bound for it."""

    number: int
    wanted: bool = True

    @property
    def id(self) -> str:
        return f"m-{self.number}"


class Driver(ABC):
    """One kind of publisher. What is lost is published again, in order, as its users do."""

    exchange: str
    key: str
    """Of the messages that are wanted."""
    patience = PATIENCE
    """For how many seconds one that gives up goes on."""

    @abstractmethod
    def begin(self, messages: Sequence[Message]) -> None:
        """Hand these over."""

    @abstractmethod
    def results(self) -> Results:
        """Wait for the results of all that was handed over; each comes once."""

    @abstractmethod
    def close(self) -> None: ...


class ContractsDriver(Driver):
    """The publisher of other teams."""

    exchange = COMMANDS_EXCHANGE
    key = Allocate.ROUTING_KEY

    def __init__(self, *urls: str) -> None:
        timeout = 60 if len(urls) > 1 or ":1/" not in urls[0] else PATIENCE
        self._publisher = Publisher(urls, timeout=timeout)
        self._futures: dict[int, Future[str]] = {}

    def begin(self, messages: Sequence[Message]) -> None:
        for message in messages:
            command: Command = Allocate(orderid=message.id, sku="CHAIR", qty=1)
            if not message.wanted:
                command = CreateBatch(batchref=message.id, sku="CHAIR", qty=1)
            outgoing = Outgoing(command=command, message_id=message.id)
            self._futures[message.number] = self._publisher.publish_soon(outgoing)

    def results(self) -> Results:
        futures, self._futures = self._futures, {}
        return {number: self._result(future) for number, future in futures.items()}

    def _result(self, future: Future[str]) -> PublishResult:
        error = future.exception(timeout=60)
        if error is None:
            return PublishResult.CONFIRMED
        kinds: dict[type[BaseException], PublishResult] = {
            UnroutableError: PublishResult.RETURNED,
            RefusedError: PublishResult.NACKED,
            UnreachableError: PublishResult.LOST,
        }
        return kinds[type(error)]

    def close(self) -> None:
        self._publisher.close(wait=False)


class EventDriver(Driver):
    """The relay's publisher."""

    exchange = EVENTS_EXCHANGE
    key = "allocated"

    def __init__(self, *urls: str) -> None:
        self._woken = Event()
        self._publisher = RabbitMQEventPublisher(urls, self._woken.set)
        self._open: dict[int, Message] = {}

    def begin(self, messages: Sequence[Message]) -> None:
        self._open |= {message.number: message for message in messages}
        self._publisher.publish([self._event(message) for message in messages])

    def results(self) -> Results:
        found: Results = {}
        lost: set[int] = set()
        give_up_at = monotonic() + self.patience
        while self._open:
            for number, result in self._publisher.take_results():
                if result is PublishResult.LOST:
                    lost.add(number)
                else:
                    assert number not in found
                    del self._open[number]
                    found[number] = result
            if lost and len(lost) == len(self._open):
                if self._publisher.connected:
                    lost.clear()
                    self._publisher.publish([self._event(message) for message in self._open.values()])
                elif monotonic() > give_up_at:
                    break
            self._woken.wait(0.1)
            self._woken.clear()
        return found | dict.fromkeys(self._open, PublishResult.LOST)

    def close(self) -> None:
        self._publisher.close()

    def _event(self, message: Message) -> OutgoingEvent:
        return OutgoingEvent(
            id=message.number,
            page=None,
            routing_key=self.key if message.wanted else "nobody",
            body=b"{}",
            message_id=message.id,
            type="allocated.v1",
            correlation_id="c",
            causation_id="m",
            traceparent=None,
            timestamp=1,
        )


class UntilConfirmedDriver(Driver):
    """The loop that redrive and replay publish with."""

    exchange = EVENTS_EXCHANGE
    key = "allocated"

    def __init__(self, *urls: str) -> None:
        self._publisher = BlockingPublisher[Publication](urls, lambda publication: publication, name="tests")
        if len(urls) > 1:
            self.patience = 60
        self._thread = ThreadPoolExecutor(1)
        self._running: list[tuple[Sequence[Message], Future[Results]]] = []

    def begin(self, messages: Sequence[Message]) -> None:
        self._running.append((messages, self._thread.submit(self._publish, messages)))

    def results(self) -> Results:
        running, self._running = self._running, []
        found: Results = {}
        for messages, future in running:
            results = future.result(timeout=120)
            missing = PublishResult.NACKED if self._publisher.connected else PublishResult.LOST
            found |= {message.number: results.get(message.number, missing) for message in messages}
        return found

    def close(self) -> None:
        self._thread.shutdown()
        self._publisher.close()

    def _publish(self, messages: Sequence[Message]) -> Results:
        results: Results = {}
        kinds = {True: PublishResult.CONFIRMED, False: PublishResult.RETURNED}
        try:
            for publication, safe in self._yielded(messages):
                assert publication.id not in results
                results[publication.id] = kinds[safe]
        except NotConfirmedError:
            pass
        return results

    def _yielded(self, messages: Sequence[Message]) -> Iterator[tuple[Publication, bool]]:
        return publish_until_confirmed(
            self._publisher, map(self._publication, messages), key=attrgetter("id"), patience=self.patience
        )

    def _publication(self, message: Message) -> Publication:
        return Publication(
            id=message.number,
            exchange=self.exchange,
            routing_key=self.key if message.wanted else "nobody",
            body=b"{}",
            properties=BasicProperties(message_id=message.id),
        )


DRIVERS: Sequence[type[Driver]] = [ContractsDriver, EventDriver, UntilConfirmedDriver]
