"""What every long-running process begins and ends with."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import structlog
from sqlalchemy.engine import Engine

from allocation_contracts.amqp.urls import masked
from allocation_worker import __version__
from allocation_worker.adapters.postgres import address, schema
from allocation_worker.adapters.postgres.durability import durability
from allocation_worker.config import Settings
from allocation_worker.entrypoints.availability import until_available
from allocation_worker.service_layer.ports import StoreError

SWITCH_INTERVAL = 0.0005
GARBAGE_THRESHOLD = 20_000

log = structlog.get_logger()


def tune_interpreter() -> None:
    """Suit it to two busy threads and to groups of many short-lived objects."""
    # A thread that comes back from the database waits for the interpreter lock; at the default of 5 ms, several times a
    # group, that took as long as the database.
    sys.setswitchinterval(SWITCH_INTERVAL)
    # At the default of 700, cycles are looked for a dozen times a group: a tenth of its processor time, and none are
    # found.
    gc.set_threshold(GARBAGE_THRESHOLD)


def wait_for_database(database: Engine, stopping: threading.Event) -> bool:
    """Wait until the database is there and its schema is ours; False if told to stop before."""
    until_available(
        partial(schema.check, database), stopping=stopping, waiting_for="the database", unavailable=(StoreError,)
    )
    return not stopping.is_set()


def log_durability(database: Engine, stopping: threading.Event) -> None:
    """Say whether commits wait for a standby and for the disk."""
    settings = until_available(partial(durability, database), stopping=stopping, waiting_for="the database")
    if settings is not None:
        log.info("durability", **settings)


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
