"""Wires `relay`, which publishes the outbox, deletes old rows, and lets holds lapse."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import structlog
from tenacity import sleep_using_event

from allocation_worker.adapters.postgres.holds import PostgresDueHolds
from allocation_worker.adapters.postgres.prune import PostgresPruneTimes, pruned_tables
from allocation_worker.adapters.postgres.relay import open_pending
from allocation_worker.adapters.postgres.unit_of_work import PostgresUnitOfWork
from allocation_worker.adapters.rabbitmq.publisher import RabbitMQEventPublisher
from allocation_worker.bootstrap.addresses import BrokerUrls
from allocation_worker.bootstrap.database import closing_connections, engine
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
from allocation_worker.entrypoints.lapse import Lapsing
from allocation_worker.entrypoints.prune import Pruner
from allocation_worker.entrypoints.prune_clock import PruneClock
from allocation_worker.entrypoints.relay import Relay
from allocation_worker.entrypoints.signs_of_life import (
    SignsOfLife,
    WatchedPublisher,
    WatchedWaker,
    watched_sessions,
    watched_sleep,
)
from allocation_worker.entrypoints.while_active import WhileActive
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.lapse import HoldLapser
from allocation_worker.service_layer.messagebus import MessageBus

STEP_ENDS_WITHIN = 5.0
"""Seconds. A step takes a fraction of one; what a frozen database does not answer is rolled back."""

log = structlog.get_logger()


def relay(settings: Settings) -> None:
    """Publish the outbox until SIGTERM or SIGINT."""
    tune_interpreter()
    with signs_of_life(settings, "relay") as (signs, network), telemetry_of(settings, "relay", signs) as telemetry:
        _relay(settings, signs, network, telemetry)


def _relay(settings: Settings, signs: SignsOfLife, network: Network, telemetry: Telemetry) -> None:
    stopping = threading.Event()
    loop = signs.loop("relay")
    waker = WatchedWaker(loop)
    database = engine(settings, "relay")
    telemetry.measure_connections(database)
    active = threading.Event()

    def while_active(loop: str) -> WhileActive:
        sleep = watched_sleep(sleep_using_event(stopping), signs.loop(loop))
        return WhileActive(active, stopping=stopping, sleep=sleep)

    pruner = Pruner(
        pruned_tables(
            database,
            history_days=settings.history_days,
            inbox_days=settings.inbox_days,
            lines_days=settings.lines_days,
        ),
        PruneClock(PostgresPruneTimes(database)),
        while_active("pruning"),
    )
    lapsing = Lapsing(
        HoldLapser(
            PostgresDueHolds(database),
            MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS),
            partial(PostgresUnitOfWork, database),
        ),
        while_active("holds"),
    )

    def stop() -> None:
        stopping.set()
        waker.wake()

    with stopped_by_signals(stop, within=settings.shutdown_timeout + CLOSING_TIME), closing_connections(database):
        log_start(settings, "relay")
        if not wait_for_database(database, stopping):
            return
        log_durability(database, stopping)
        signs.started = True
        publisher = RabbitMQEventPublisher(
            BrokerUrls(settings), wake=waker.wake, blocked_timeout=settings.blocked_timeout, link=network.link
        )
        try:
            with (
                telemetry.outbox_and_queues(database, active),
                _in_a_thread("prune", pruner.run, stopping),
                _in_a_thread("holds", lapsing.run, stopping),
            ):
                Relay(
                    watched_sessions(partial(open_pending, database, lease=settings.relay_lease), loop),
                    telemetry.publisher(WatchedPublisher(publisher, loop)),
                    waker=waker,
                    active=active,
                    stopping=stopping,
                    window=settings.relay_window,
                    poll=settings.relay_poll,
                ).run()
        finally:
            publisher.close()
        log.info("stopped")


@contextmanager
def _in_a_thread(name: str, run: Callable[[], None], stopping: threading.Event) -> Iterator[None]:
    """Have something run until `stopping`, which is set at the end of the block, and wait for its end."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(STEP_ENDS_WITHIN)
