"""Starts the long-running processes: interpreter settings, waiting for the database."""

import gc
import sys
import threading
from functools import partial

import structlog
from sqlalchemy.engine import Engine

from allocation_contracts.amqp.urls import masked
from allocation_worker import __version__
from allocation_worker.adapters.postgres import address, schema
from allocation_worker.adapters.postgres.durability import durability
from allocation_worker.config import Settings
from allocation_worker.entrypoints.availability import until_available

SWITCH_INTERVAL = 0.0005
GARBAGE_THRESHOLD = 20_000

log = structlog.get_logger()


def tune_interpreter() -> None:
    """Tune the interpreter for two busy threads and many short-lived objects."""
    # After each database call a thread waits for the interpreter lock. At the default of 5 ms these waits took as long
    # as the database.
    sys.setswitchinterval(SWITCH_INTERVAL)
    # At the default of 700 the collector runs a dozen times per group. It took a tenth of the processor time and found
    # nothing.
    gc.set_threshold(GARBAGE_THRESHOLD)


def wait_for_database(database: Engine, stopping: threading.Event) -> bool:
    """Wait until the database is reachable and its schema up to date. Return False if `stopping` was set before."""
    until_available(partial(schema.check, database), stopping=stopping, waiting_for="the database")
    return not stopping.is_set()


def log_durability(database: Engine, stopping: threading.Event) -> None:
    """Say what the guarantees rest on, and what weakens them."""
    found = until_available(partial(durability, database), stopping=stopping, waiting_for="the database")
    if found is None:
        return
    log.info("durability", **found.facts)
    for weakness in found.weaknesses:
        if weakness.is_fault:
            log.warning("durability_weak", kind=weakness.kind, what=weakness.sentence)
        else:
            log.info("durability_notice", kind=weakness.kind, what=weakness.sentence)


def log_start(settings: Settings, verb: str, **what: object) -> None:
    """Log the start of a verb with its main settings.

    Args:
        settings: The settings of the process.
        verb: The verb.
        what: Further fields of the log line.
    """
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
