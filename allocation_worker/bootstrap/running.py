"""Wires `consume` and `relay`, and what every process that runs for good begins and ends with."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog
from sqlalchemy.engine import Engine

from allocation_contracts import ORDERS_QUEUE
from allocation_contracts.amqp.urls import masked
from allocation_worker import __version__
from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres import address, schema
from allocation_worker.adapters.postgres.history import History
from allocation_worker.adapters.postgres.pending import open_pending
from allocation_worker.adapters.postgres.unit_of_work import PostgresUnitOfWork
from allocation_worker.adapters.rabbitmq.consumer import Consumer
from allocation_worker.adapters.rabbitmq.deliveries import DeliveryBuffer
from allocation_worker.adapters.rabbitmq.publisher import EventPublisher
from allocation_worker.bootstrap.places import engine
from allocation_worker.config import Settings
from allocation_worker.entrypoints.availability import until_available
from allocation_worker.entrypoints.consume import QueueWorker
from allocation_worker.entrypoints.prune import Pruner
from allocation_worker.entrypoints.relay import Relay, Waker
from allocation_worker.service_layer.groups import GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.ports import StoreError, UnitOfWorkFactory
from allocation_worker.service_layer.retries import RetryPolicy

SWITCH_INTERVAL = 0.0005
GARBAGE_THRESHOLD = 20_000

log = structlog.get_logger()


def processor(new_unit_of_work: UnitOfWorkFactory, policy: RetryPolicy) -> GroupProcessor:
    """The service layer, over whatever keeps its data."""
    return GroupProcessor(MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS), new_unit_of_work, policy)


def tune_interpreter() -> None:
    """Suit it to two busy threads and to groups of many short-lived objects."""
    # A thread that comes back from the database waits for the interpreter lock; at the default of 5 ms, several times a
    # group, that took as long as the database.
    sys.setswitchinterval(SWITCH_INTERVAL)
    # At the default of 700, cycles are looked for a dozen times a group: a tenth of its processor time, and none are
    # found.
    gc.set_threshold(GARBAGE_THRESHOLD)


def consume(settings: Settings, queues: Sequence[str]) -> None:
    """Answer the commands of these queues until told to stop."""
    tune_interpreter()
    stopping = threading.Event()
    consumer = Consumer(
        settings.amqp_url,
        queues,
        prefetch=settings.prefetch,
        unordered=[ORDERS_QUEUE],
        grace=settings.shutdown_timeout,
    )
    database = engine(settings, "consume")
    service = processor(partial(PostgresUnitOfWork, database), settings.retry_policy)

    def work(deliveries: DeliveryBuffer) -> None:
        QueueWorker(deliveries, wire.read, service, group_limit=settings.group_limit, stopping=stopping).run()

    def stop() -> None:
        stopping.set()
        consumer.stop()

    with stopped_by_signals(stop):
        log_start(settings, "consume", queues=list(queues))
        if not wait_for_database(database, stopping):
            return
        consumer.run(work)
        log.info("stopped")


def relay(settings: Settings) -> None:
    """Publish the outbox until told to stop."""
    tune_interpreter()
    stopping = threading.Event()
    waker = Waker()
    database = engine(settings, "relay")
    history = History(database, history_days=settings.history_days, inbox_days=settings.inbox_days)

    def stop() -> None:
        stopping.set()
        waker.wake()

    with stopped_by_signals(stop):
        log_start(settings, "relay")
        if not wait_for_database(database, stopping):
            return
        publisher = EventPublisher(settings.amqp_url, wake=waker.wake, blocked_timeout=settings.blocked_timeout)
        try:
            Relay(
                partial(open_pending, database, lease=settings.relay_lease),
                publisher,
                Pruner(history.prune_some).prune_if_due,
                waker=waker,
                stopping=stopping,
                window=settings.relay_window,
                poll=settings.relay_poll,
            ).run()
        finally:
            publisher.close()
        log.info("stopped")


def wait_for_database(database: Engine, stopping: threading.Event) -> bool:
    """Wait until the database is there and its schema is ours; False if told to stop before."""
    until_available(
        partial(schema.check, database), stopping=stopping, waiting_for="the database", unavailable=(StoreError,)
    )
    return not stopping.is_set()


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGTERM or Ctrl-C asks to finish; the second ends the process at once."""
    asked = False

    def handle(number: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        log.info("stopping", signal=signal.Signals(number).name)
        stop()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def log_start(settings: Settings, verb: str, **what: object) -> None:
    """Say what has started, and with which settings."""
    log.info(
        "starting",
        verb=verb,
        version=__version__,
        broker=[masked(url) for url in settings.amqp_url],
        database=address.parse(settings.database_url).masked,
        group_limit=settings.group_limit,
        prefetch=settings.prefetch,
        **what,
    )
