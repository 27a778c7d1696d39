"""Wires the verbs of `dead-letters`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from allocation_worker.adapters import wire
from allocation_worker.adapters.archive import new_file as archive
from allocation_worker.adapters.postgres import schema
from allocation_worker.adapters.postgres.unit_of_work import DryRunUnitOfWork
from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.adapters.rabbitmq.dead_letter_publisher import publish_copies
from allocation_worker.adapters.rabbitmq.dead_letter_queue import DeadLetterQueue, open_dead_letters
from allocation_worker.bootstrap.database import closing_connections, engine
from allocation_worker.config import Settings
from allocation_worker.service_layer.dead_letters import Redrive, RedrivePolicy
from allocation_worker.service_layer.dry_run import DryRun, predict_redrive
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS

__all__ = ["archive", "dry_run_redrive", "hold_dead_letters", "redrive_dead_letters"]

OnProgress = Callable[[int, int], None]
"""Called from time to time with the number of dead letters read, and the number of all."""


@contextmanager
def hold_dead_letters(settings: Settings, on_progress: OnProgress) -> Iterator[DeadLetterQueue]:
    """Yield the dead letters. No other process can read them until the block ends."""
    with open_dead_letters(settings.amqp_url, on_progress) as letters:
        yield letters


@contextmanager
def redrive_dead_letters(
    settings: Settings, on_progress: OnProgress, *, even_if_forgotten: bool
) -> Iterator[Redrive[HeldDeadLetter]]:
    """Yield the use case that publishes dead letters as commands again."""
    policy = _policy(settings, even_if_forgotten=even_if_forgotten)
    with open_dead_letters(settings.amqp_url, on_progress) as letters:
        yield Redrive(letters, partial(publish_copies, settings.amqp_url), policy.reason_to_keep)


@contextmanager
def dry_run_redrive(settings: Settings, *, even_if_forgotten: bool) -> Iterator[Callable[[HeldDeadLetter], str]]:
    """Yield a function that predicts the outcome of redriving a dead letter, as a sentence without its subject."""
    policy = _policy(settings, even_if_forgotten=even_if_forgotten)
    with closing_connections(engine(settings, "dead-letters")) as database:
        schema.check(database)
        new_unit_of_work = partial(DryRunUnitOfWork, database, hold_limit=settings.hold_limit)
        dry_run = DryRun(COMMAND_HANDLERS, EVENT_HANDLERS, new_unit_of_work)
        yield partial(
            predict_redrive, reason_to_keep=policy.reason_to_keep, read=wire.read, dry_run=dry_run, write=wire.write
        )


def _policy(settings: Settings, *, even_if_forgotten: bool) -> RedrivePolicy:
    return RedrivePolicy(
        read=wire.read, now=time.time(), inbox_days=settings.inbox_days, even_if_forgotten=even_if_forgotten
    )
