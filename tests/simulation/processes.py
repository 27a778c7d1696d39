"""The consumer and the relay, wired as in `bootstrap`, in the simulated world."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from allocation_contracts.names import ORDERS_QUEUE, STOCK_QUEUE
from allocation_worker.adapters import wire
from allocation_worker.adapters.rabbitmq.consumer import Consumer
from allocation_worker.adapters.rabbitmq.deliveries import DeliveryBuffer, Results
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.adapters.rabbitmq.publisher import RabbitMQEventPublisher
from allocation_worker.domain.commands import LapseHold
from allocation_worker.entrypoints.consume import QueueWorker
from allocation_worker.entrypoints.lapse import Lapsing
from allocation_worker.entrypoints.relay import Relay
from allocation_worker.entrypoints.while_active import WhileActive
from allocation_worker.service_layer.groups import GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.lapse import HoldLapser
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outgoing import MessageResult, OutgoingEvent
from allocation_worker.service_layer.ports import (
    PrunedTable,
    StoreContentionError,
    StoreError,
    StoreUnavailableError,
    UnitOfWork,
)
from tests.fakes.prune import FakeEndedBatches, FakeEndedLines
from tests.simulation import current, faults
from tests.simulation.database import Session, SimulatedDueHolds, SimulatedUnitOfWork, open_pending
from tests.simulation.faults import Options, Outcome
from tests.simulation.link import SimulatedLink
from tests.simulation.scheduler import Killed, Task
from tests.simulation.seams import SimulatedEvent, SimulatedThreads, SimulatedWaker, now, sleep

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

GRACE = 30.0
PRUNE_EVERY = 0.2
"""Seconds."""


def _nothing() -> None:
    pass


class Process:
    """A process of the product: whatever it holds in memory dies with it.

    Attributes:
        last: what was decided at its latest point.
    """

    def __init__(self, world: "World", name: str, start: "Start") -> None:
        self.world = world
        self.name = name
        self.start = start
        self.waker = SimulatedWaker()
        self.stopping = SimulatedEvent()
        self.links: list[SimulatedLink] = []
        self.last = Outcome.OK
        self.dead = False
        self._tasks: list[Task] = []
        current.build(self)
        start(self)

    def spawn(self, name: str, function: Callable[[], None]) -> None:
        task = self.world.scheduler.spawn(f"{self.name}: {name}", function)
        self._tasks.append(task)

    def kill(self) -> None:
        """As by SIGKILL; what is to be done about it is done when the running step ends."""
        self.dead = True

    def clean_up(self) -> None:
        """Unwind its threads; the servers see its connections close."""
        for task in self._tasks:
            task.kill()
        self.world.scheduler.remove(*self._tasks)
        for link in self.links:
            link.end()

    def point(self, name: str) -> None:
        """Between two steps: it may die here."""
        self.call(name, faults.CRASH, _nothing)

    def call(self, name: str, options: Options, execute: Callable[[], T], broken: Callable[[], None] = _nothing) -> T:
        """Do something of which it is decided elsewhere whether, and how, it fails; `broken` before it raises."""
        if self.dead:
            raise Killed
        self.world.pause()
        self.last = outcome = self.world.decide(f"{self.name}: {name}", options)
        if outcome is Outcome.SLOW:
            self.world.scheduler.sleep(self.world.a_while())
        if outcome is Outcome.CRASH_BEFORE:
            self._die()
        if outcome is Outcome.ERROR_BEFORE:
            broken()
            raise StoreUnavailableError("server closed the connection unexpectedly")
        if outcome is Outcome.CONTENTION:
            raise StoreContentionError("deadlock detected")
        result = execute()
        if outcome is Outcome.CRASH_AFTER:
            self._die()
        if outcome is Outcome.ERROR_AFTER:
            broken()
            raise StoreUnavailableError("server closed the connection unexpectedly")
        return result

    def _die(self) -> None:
        self.kill()
        raise Killed


Start = Callable[[Process], None]


class WatchedDeliveries:
    """The deliveries of a queue, with points."""

    def __init__(self, deliveries: DeliveryBuffer, process: Process) -> None:
        self._deliveries = deliveries
        self._process = process
        self.queue = deliveries.queue
        self.hold = deliveries.hold
        self.release = deliveries.release

    def take(self, limit: int, within: float | None = None) -> list[Delivery] | None:
        taken = self._deliveries.take(limit, within)
        self._process.point("received")
        return taken

    def ack(self, results: Results) -> None:
        self._deliveries.ack(results)
        self._process.point("acked")


class WatchedBus(MessageBus):
    """A bus, with points."""

    def __init__(self, process: Process) -> None:
        super().__init__(COMMAND_HANDLERS, EVENT_HANDLERS)
        self._process = process

    def handle(self, message: CommandMessage, uow: UnitOfWork) -> None:
        if self._process.world.fails(message.message_id):
            raise StoreError("a handler that fails")
        super().handle(message, uow)
        self._process.point("handled")


class WatchedLapses(WatchedBus):
    """A bus for the ends of holds."""

    def handle(self, message: CommandMessage, uow: UnitOfWork) -> None:
        super().handle(message, uow)
        assert isinstance(uow, SimulatedUnitOfWork)
        assert isinstance(message.command, LapseHold)
        uow.note_lapse(message.command)


class WatchedPublisher:
    """A publisher, with points."""

    def __init__(self, publisher: RabbitMQEventPublisher, process: Process) -> None:
        self._publisher = publisher
        self._process = process

    @property
    def connected(self) -> bool:
        return self._publisher.connected

    def publish(self, batch: Sequence[OutgoingEvent]) -> None:
        self._publisher.publish(batch)
        self._process.point("published")

    def take_results(self) -> list[MessageResult]:
        taken = self._publisher.take_results()
        if taken:
            self._process.point("confirmed")
        return taken


def consume(process: Process) -> None:
    """As `bootstrap.consume`."""
    world = process.world

    def read(delivery: Delivery) -> CommandMessage:
        if world.kills(delivery.properties.message_id):
            process.kill()
            raise Killed
        message = wire.read_queued(delivery)
        process.point("parsed")
        return message

    service = GroupProcessor(
        WatchedBus(process),
        partial(SimulatedUnitOfWork, world.database, process),
        world.setting.policy,
        sleep=sleep,
        clock=now,
    )
    queues = [ORDERS_QUEUE, STOCK_QUEUE]
    consumer = Consumer(
        ["amqp://simulated"],
        queues,
        prefetch=world.setting.prefetch,
        grace=GRACE,
        unordered=[ORDERS_QUEUE],
        name="queue",
        link=partial(SimulatedLink, process),
        threads=SimulatedThreads(process.spawn),
    )

    def work(deliveries: DeliveryBuffer) -> None:
        QueueWorker(
            WatchedDeliveries(deliveries, process),
            read,
            service,
            group_limit=world.setting.group_limit,
            stopping=process.stopping,
            clock=now,
        ).run()

    process.spawn("main", partial(consumer.run, work))


def relay(process: Process) -> None:
    """As `bootstrap.relay`."""
    world = process.world
    publisher = RabbitMQEventPublisher(
        ["amqp://simulated"], wake=process.waker.wake, name="publisher", link=partial(SimulatedLink, process)
    )
    active = SimulatedEvent()
    loop = Relay(
        partial(open_pending, world.database, process),
        WatchedPublisher(publisher, process),
        waker=process.waker,
        active=active,
        stopping=process.stopping,
        window=world.setting.window,
        poll=1.0,
        clock=now,
    )
    lapsing = Lapsing(
        HoldLapser(
            SimulatedDueHolds(world.database, process),
            WatchedLapses(process),
            partial(SimulatedUnitOfWork, world.database, process),
        ),
        WhileActive(active, stopping=process.stopping, sleep=sleep, clock=now),
    )
    process.spawn("relay", loop.run)
    process.spawn("holds", lapsing.run)
    if world.setting.prunes:
        process.spawn("prune", partial(_prune, process, active))


def _prune(process: Process, active: Event) -> None:
    """Prune whatever has ended, and no message that is on its way names."""
    world = process.world
    tables: list[PrunedTable] = [
        FakeEndedLines(world.database, keep=timedelta(), spared=world.names_line),
        FakeEndedBatches(world.database, keep=timedelta(), spared=world.names_batch),
    ]
    while not process.stopping.is_set():
        sleep(PRUNE_EVERY)
        for table in tables if active.is_set() else ():
            now = world.database.now() + timedelta(seconds=1)
            session = Session(process, _nothing)
            with suppress(StoreUnavailableError):
                session.statement(f"pruned {table.name}", faults.WRITE, partial(table.step, now))
            session.close()
