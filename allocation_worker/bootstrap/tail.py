"""Wires `tail`, which shows events as they are published."""

from collections.abc import Callable, Generator, Sequence
from threading import Event
from time import time

import allocation_contracts as contracts
from allocation_worker.adapters.rabbitmq.tail import SeenEvent, tail_events
from allocation_worker.bootstrap.addresses import BrokerUrls
from allocation_worker.bootstrap.signals import CLOSING_TIME, stopped_by_signals
from allocation_worker.bootstrap.signs_of_life import signs_of_life
from allocation_worker.config import Settings

EVENT_NAMES = tuple(model.ROUTING_KEY for model in contracts.EVENTS.values())
"""The names of the event types without their version, such as `allocated` for `allocated.v1`."""

__all__ = ["EVENT_NAMES", "SeenEvent", "tail"]


def tail(
    settings: Settings, names: Sequence[str], *, on_listening: Callable[[], None], on_lost: Callable[[], None]
) -> Generator[SeenEvent | None]:
    """Yield the events of the given names, or all events if no name is given, until SIGTERM or SIGINT.

    See `tail_events`. It takes the signals from its first step to its end.
    """
    stopping = Event()
    with signs_of_life(settings, "tail") as (signs, _), stopped_by_signals(stopping.set, within=CLOSING_TIME):
        loop = signs.loop("reader of events", needs_connection=True)
        signs.waiting_for = "the broker"

        def listening() -> None:
            loop.move()
            loop.connected_since = time()
            signs.started = True
            on_listening()

        def lost() -> None:
            loop.rest()
            loop.connected_since = None
            on_lost()

        urls = BrokerUrls(settings)
        for event in tail_events(urls, names or ["#"], stopping=stopping, on_listening=listening, on_lost=lost):
            if event is None:
                loop.move()
            else:
                loop.settle()
            yield event
