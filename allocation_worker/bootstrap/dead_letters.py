"""Wires the verbs of `dead-letters`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres import schema
from allocation_worker.adapters.postgres.unit_of_work import RehearsalUnitOfWork
from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.adapters.rabbitmq.dead_letter_publisher import publish_copies
from allocation_worker.adapters.rabbitmq.dead_letter_queue import DeadLetterQueue, open_dead_letters
from allocation_worker.bootstrap.database import closing_connections, engine
from allocation_worker.config import Settings
from allocation_worker.service_layer.dead_letters import Gatekeeper, Redrive
from allocation_worker.service_layer.dry_run import Prospect, Rehearsal
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS

OnProgress = Callable[[int, int], None]
"""Called from time to time with the number of dead letters read, and the number of all."""


@contextmanager
def hold_dead_letters(settings: Settings, on_progress: OnProgress) -> Iterator[DeadLetterQueue]:
    """Yield the dead letters; no other process can take them until the block ends."""
    with open_dead_letters(settings.amqp_url, on_progress) as letters:
        yield letters


@contextmanager
def redrive_dead_letters(
    settings: Settings, on_progress: OnProgress, *, even_if_forgotten: bool
) -> Iterator[Redrive[HeldDeadLetter]]:
    """Yield the use case that sends dead letters as commands again."""
    objection = _gatekeeper(settings, even_if_forgotten=even_if_forgotten).objection
    with open_dead_letters(settings.amqp_url, on_progress) as letters:
        yield Redrive(letters, partial(publish_copies, settings.amqp_url), objection)


@contextmanager
def rehearse_dead_letters(settings: Settings, *, even_if_forgotten: bool) -> Iterator[Callable[[HeldDeadLetter], str]]:
    """Yield a function that predicts the outcome of redriving a dead letter, as a sentence without its subject."""
    gatekeeper = _gatekeeper(settings, even_if_forgotten=even_if_forgotten)
    with closing_connections(engine(settings, "dead-letters")) as database:
        schema.check(database)
        stage = Rehearsal(COMMAND_HANDLERS, EVENT_HANDLERS, partial(RehearsalUnitOfWork, database))

        def tell(letter: HeldDeadLetter) -> str:
            objection = gatekeeper.objection(letter)
            return f"would be left: {objection}" if objection else _foretell(stage, letter)

        yield tell


def _gatekeeper(settings: Settings, *, even_if_forgotten: bool) -> Gatekeeper:
    return Gatekeeper(
        read=wire.read, now=time.time(), inbox_days=settings.inbox_days, even_if_forgotten=even_if_forgotten
    )


def _foretell(stage: Rehearsal, letter: HeldDeadLetter) -> str:
    message = wire.read(letter)
    found = stage.rehearse(message)
    match found.prospect:
        case Prospect.ALREADY_DONE:
            return "is done already: this message was processed under its message_id; it would change nothing."
        case Prospect.CONFLICT:
            return "would be dead-lettered again: another message was processed under its message_id."
        case Prospect.FAILED:
            return f"would fail again: {type(found.failure).__name__}: {found.failure}"
        case Prospect.ANSWERED:
            type_, body = wire.write(found.events[0], message)
            others = f", and {len(found.events) - 1} more events" if len(found.events) > 1 else ""
            return f"would be answered by {type_} {body}{others}."
