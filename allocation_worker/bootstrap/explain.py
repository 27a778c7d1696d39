"""Wires `explain`, which shows the history of one command, or of an order or a SKU."""

import json
from collections.abc import Callable, Mapping

from allocation_contracts import DEAD_LETTERS
from allocation_worker.adapters.postgres.explain import open_records
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.adapters.rabbitmq.dead_letter_queue import open_dead_letters
from allocation_worker.adapters.rabbitmq.errors import RabbitMQError
from allocation_worker.bootstrap.addresses import BrokerUrls
from allocation_worker.bootstrap.database import migrated_database
from allocation_worker.config import Settings
from allocation_worker.service_layer import explain as use_case
from allocation_worker.service_layer.explain import Events, Story

_MOST_LETTERS_READ = 1000
"""Dead letters are held while they are read, so that nobody else can read them."""


def explain(settings: Settings, message_id: str) -> Story | None:
    """Return the story of a command; None if nothing is stored under its message_id."""
    with migrated_database(settings, "explain") as database, open_records(database) as records:
        return use_case.explain(records, message_id)


def events_about(settings: Settings, *, orderid: str | None, sku: str | None) -> Events:
    """Return the events about an order, or a SKU, or both."""
    with migrated_database(settings, "explain") as database, open_records(database) as records:
        return use_case.events_about(records, orderid=orderid, sku=sku)


def dead_letters(settings: Settings, is_meant: Callable[[HeldDeadLetter], bool]) -> list[HeldDeadLetter] | None:
    """Return the dead letters that are meant; None if they cannot be read now, or are too many."""
    waiting = waiting_messages(settings)
    if waiting is None or waiting[DEAD_LETTERS] > _MOST_LETTERS_READ:
        return None
    if not waiting[DEAD_LETTERS]:
        return []
    try:
        with open_dead_letters(BrokerUrls(settings), lambda _read, _all: None) as letters:
            return [letter for letter in letters if is_meant(letter)]
    except RabbitMQError:
        return None


def names(letter: HeldDeadLetter, *, orderid: str | None, sku: str | None) -> bool:
    """Return whether the body of a dead letter names this order and this SKU."""
    try:
        body = json.loads(letter.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and orderid in {None, _text(body, "orderid")} and sku in {None, _text(body, "sku")}


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def waiting_messages(settings: Settings) -> Mapping[str, int] | None:
    """Return the number of messages in each command, retry and dead-letter queue; None if the broker is unreachable."""
    try:
        return topology.message_counts(settings.amqp_url, retry_delays=settings.retry_policy.all_delays)
    except RabbitMQError:
        return None
