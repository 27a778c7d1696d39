"""Wires `consume`, which processes the commands of the queues."""

import threading
from collections.abc import Sequence
from functools import partial

import structlog

from allocation_contracts import ORDERS_QUEUE
from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.unit_of_work import Optimism, PostgresUnitOfWork
from allocation_worker.adapters.rabbitmq.consumer import Consumer
from allocation_worker.adapters.rabbitmq.deliveries import DeliveryBuffer
from allocation_worker.bootstrap.addresses import BrokerUrls
from allocation_worker.bootstrap.database import engine
from allocation_worker.bootstrap.process import (
    log_durability,
    log_start,
    tune_interpreter,
    wait_for_database,
)
from allocation_worker.bootstrap.signals import CLOSING_TIME, stopped_by_signals
from allocation_worker.bootstrap.signs_of_life import Network, signs_of_life
from allocation_worker.bootstrap.telemetry import Telemetry, telemetry_of
from allocation_worker.config import Settings
from allocation_worker.entrypoints.consume import QueueWorker
from allocation_worker.entrypoints.signs_of_life import SignsOfLife, WatchedDeliveries
from allocation_worker.service_layer.groups import GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.ports import UnitOfWorkFactory
from allocation_worker.service_layer.retries import RetryPolicy

log = structlog.get_logger()


def processor(new_unit_of_work: UnitOfWorkFactory, policy: RetryPolicy) -> GroupProcessor:
    """Return the service layer for one kind of unit of work."""
    return GroupProcessor(MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS), new_unit_of_work, policy)


def consume(settings: Settings, queues: Sequence[str]) -> None:
    """Process the commands of these queues until SIGTERM or SIGINT."""
    tune_interpreter()
    with signs_of_life(settings, "consume") as (signs, network), telemetry_of(settings, "consume", signs) as telemetry:
        _consume(settings, queues, signs, network, telemetry)


def _consume(
    settings: Settings, queues: Sequence[str], signs: SignsOfLife, network: Network, telemetry: Telemetry
) -> None:
    stopping = threading.Event()
    consumer = Consumer(
        BrokerUrls(settings),
        queues,
        prefetch=settings.prefetch,
        unordered=[ORDERS_QUEUE],
        grace=settings.shutdown_timeout,
        link=network.link,
    )
    database = engine(settings, "consume")
    telemetry.measure_connections(database)

    def work(deliveries: DeliveryBuffer) -> None:
        watched = WatchedDeliveries(deliveries, signs.loop(f"worker of {deliveries.queue}"), "the database")
        new_unit_of_work = partial(PostgresUnitOfWork, database, Optimism(), hold_limit=settings.hold_limit)
        service = processor(new_unit_of_work, settings.retry_policy)
        observed, read = telemetry.commands(watched, wire.read_queued)
        QueueWorker(observed, read, service, group_limit=settings.group_limit, stopping=stopping).run()

    def stop() -> None:
        stopping.set()
        consumer.stop()

    with stopped_by_signals(stop, within=settings.shutdown_timeout + CLOSING_TIME):
        log_start(settings, "consume", queues=list(queues))
        if not wait_for_database(database, stopping):
            return
        log_durability(database, stopping)
        signs.started = True
        consumer.run(work)
        log.info("stopped")
