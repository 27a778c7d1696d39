"""Wires `project`, which updates the read model."""

import threading
from functools import partial

import structlog
from sqlalchemy.engine import Engine

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.project import open_write_model
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.consumer import Consumer
from allocation_worker.adapters.rabbitmq.deliveries import DeliveryBuffer
from allocation_worker.adapters.rabbitmq.errors import BrokerError, TopologyMissingError
from allocation_worker.adapters.rabbitmq.layout import READ_MODEL_QUEUE
from allocation_worker.adapters.rabbitmq.threads import Threads
from allocation_worker.bootstrap.addresses import BrokerUrls, redis_address
from allocation_worker.bootstrap.database import closing_connections, engine
from allocation_worker.bootstrap.process import log_start, wait_for_database
from allocation_worker.bootstrap.show import RedisNotInstalledError
from allocation_worker.bootstrap.signals import CLOSING_TIME, stopped_by_signals
from allocation_worker.bootstrap.signs_of_life import Network, signs_of_life
from allocation_worker.bootstrap.telemetry import Telemetry, telemetry_of
from allocation_worker.config import Settings
from allocation_worker.entrypoints.availability import until_available
from allocation_worker.entrypoints.consume import QueueWorker
from allocation_worker.entrypoints.project import tend_patiently, tend_until
from allocation_worker.entrypoints.signs_of_life import SignsOfLife, WatchedDeliveries
from allocation_worker.service_layer.project import Projector

log = structlog.get_logger()


def project(settings: Settings) -> None:
    """Update the read model until SIGTERM or SIGINT."""
    with signs_of_life(settings, "project") as (signs, network), telemetry_of(settings, "project", signs) as telemetry:
        _project(settings, signs, network, telemetry)


def _project(settings: Settings, signs: SignsOfLife, network: Network, telemetry: Telemetry) -> None:
    stopping = threading.Event()
    database = engine(settings, "project")
    telemetry.measure_connections(database)
    projector = _projector(settings, database)
    consumer = Consumer(
        BrokerUrls(settings),
        [READ_MODEL_QUEUE],
        prefetch=settings.prefetch,
        ordered_prefetch=settings.prefetch,  # an event that is dead-lettered is read from the write model again
        grace=settings.shutdown_timeout,
        name="allocation-worker project",
        link=network.link,
    )

    def work(deliveries: DeliveryBuffer) -> None:
        loop = signs.loop(f"worker of {deliveries.queue}")
        watched = WatchedDeliveries(deliveries, loop, "Redis, or the database")
        observed, read = telemetry.events(watched, wire.read_event)
        QueueWorker(
            observed,
            read,
            projector,
            group_limit=settings.group_limit,
            stopping=stopping,
            done="events_projected",
            store="Redis, or the database",
        ).run()

    def stop() -> None:
        stopping.set()
        consumer.stop()

    with stopped_by_signals(stop, within=settings.shutdown_timeout + CLOSING_TIME):
        log_start(settings, "project")
        signs.waiting_for = "the database, the broker or Redis"
        # Declare the queue first: it receives all later events, and the projector catches up with the earlier ones.
        ready = wait_for_database(database, stopping) and _declare_patiently(settings, stopping)
        if not (ready and tend_patiently(stopping, projector)):
            return
        signs.started = True
        tending = Threads().spawn("tending", partial(tend_until, stopping, projector))
        tending.add_done_callback(lambda _: stop())
        consumer.run(work)
        if tending.done():
            tending.result()
        log.info("stopped")


def rebuild(settings: Settings) -> int:
    """Build a new read model beside the current one, and switch to it. Return the number of its SKUs."""
    with closing_connections(engine(settings, "project --rebuild")) as database:
        projector = _projector(settings, database)
        # The queue must collect the events of the meantime for the next `project`.
        topology.declare_read_model(BrokerUrls(settings))
        return projector.rebuild()


def _projector(settings: Settings, database: Engine) -> Projector:
    try:
        from allocation_worker.adapters.redis import client  # noqa: PLC0415 - redis-py is an optional extra
        from allocation_worker.adapters.redis.read_model import RedisReadModel  # noqa: PLC0415 - as above
    except ImportError as error:
        raise RedisNotInstalledError from error
    latest = redis_address(settings)
    connection = client.connect(latest, name="allocation-worker project", timeout=settings.statement_timeout)
    read_model = RedisReadModel(connection, latest().masked, history_days=settings.history_days)
    return Projector(read_model, partial(open_write_model, database))


def _declare_patiently(settings: Settings, stopping: threading.Event) -> bool:
    until_available(
        partial(topology.declare_read_model, BrokerUrls(settings)),
        stopping=stopping,
        waiting_for="the broker",
        unavailable=(BrokerError, TopologyMissingError),
    )
    return not stopping.is_set()
