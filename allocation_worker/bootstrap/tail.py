"""Wires `tail`, which shows events as they are published."""

from collections.abc import Callable, Generator, Sequence

import allocation_contracts as contracts
from allocation_worker.adapters.rabbitmq.tail import SeenEvent, tail_events
from allocation_worker.bootstrap.addresses import BrokerUrls
from allocation_worker.config import Settings

EVENT_NAMES = tuple(model.ROUTING_KEY for model in contracts.EVENTS.values())
"""The names of the event types without their version, such as `allocated` for `allocated.v1`."""

__all__ = ["EVENT_NAMES", "SeenEvent", "tail"]


def tail(
    settings: Settings, names: Sequence[str], *, on_listening: Callable[[], None], on_lost: Callable[[], None]
) -> Generator[SeenEvent | None]:
    """Yield the events of the given names, or all events if no name is given; see `tail_events`."""
    return tail_events(BrokerUrls(settings), names or ["#"], on_listening=on_listening, on_lost=on_lost)
