"""Wires `relay`, which publishes the outbox."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import structlog

from allocation_worker.adapters.postgres.prune import PostgresPruneTimes, pruned_tables
from allocation_worker.adapters.postgres.relay import open_pending
from allocation_worker.adapters.rabbitmq.publisher import RabbitMQEventPublisher
from allocation_worker.bootstrap.database import closing_connections, engine
from allocation_worker.bootstrap.process import (
    log_durability,
    log_start,
    stopped_by_signals,
    tune_interpreter,
    wait_for_database,
)
from allocation_worker.config import Settings
from allocation_worker.entrypoints.prune import Pruner
from allocation_worker.entrypoints.prune_clock import PruneClock
from allocation_worker.entrypoints.relay import Relay, Waker

PRUNING_ENDS_WITHIN = 5.0
"""Seconds. A step takes a fraction of one; what a frozen database does not answer is rolled back."""

log = structlog.get_logger()


def relay(settings: Settings) -> None:
    """Publish the outbox until SIGTERM or SIGINT."""
    tune_interpreter()
    stopping = threading.Event()
    waker = Waker()
    database = engine(settings, "relay")
    active = threading.Event()
    pruner = Pruner(
        pruned_tables(database, history_days=settings.history_days, inbox_days=settings.inbox_days),
        PruneClock(PostgresPruneTimes(database)),
        active=active,
        stopping=stopping,
    )

    def stop() -> None:
        stopping.set()
        waker.wake()

    with stopped_by_signals(stop), closing_connections(database):
        log_start(settings, "relay")
        if not wait_for_database(database, stopping):
            return
        log_durability(database, stopping)
        publisher = RabbitMQEventPublisher(settings.amqp_url, wake=waker.wake, blocked_timeout=settings.blocked_timeout)
        try:
            with _in_a_thread(pruner.run, stopping):
                Relay(
                    partial(open_pending, database, lease=settings.relay_lease),
                    publisher,
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
def _in_a_thread(run: Callable[[], None], stopping: threading.Event) -> Iterator[None]:
    """Have something run until `stopping`, which is set at the end of the block, and wait for its end."""
    thread = threading.Thread(target=run, name="prune", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(PRUNING_ENDS_WITHIN)
