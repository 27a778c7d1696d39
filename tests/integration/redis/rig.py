"""The write model, the read model, and the delivery of events between them."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from redis import Redis

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.project import PostgresWriteModel, open_write_model
from allocation_worker.adapters.redis.address import parse
from allocation_worker.adapters.redis.client import connect
from allocation_worker.adapters.redis.read_model import RedisReadModel
from allocation_worker.adapters.redis.views import RedisViews
from allocation_worker.domain.commands import Command, LapseHold
from allocation_worker.domain.events import ProductEvent
from allocation_worker.service_layer.project import EventMessage, Projector
from harness.checker import read_model as comparing
from tests.fakes.messages import message
from tests.integration.postgres.staging import BUS, process
from tests.integration.postgres.store import PostgresStore


class Models:
    """A place for both."""

    def __init__(self, store: PostgresStore, redis_url: str, redis: Redis) -> None:
        self.store = store
        self.redis = redis
        self.redis_url = redis_url
        self.read_model = RedisReadModel(
            connect(lambda: parse(redis_url), name="tests", timeout=10), "here", history_days=30
        )
        self.views = RedisViews(connect(lambda: parse(redis_url), name="tests", timeout=10), "here")
        self._database_url = store.engine.url.render_as_string(hide_password=False)

    def projector(self, *, while_reading: Callable[[], None] | None = None) -> Projector:
        """A fresh one, as after a start of the process.

        Args:
            while_reading: called each time when the write model's moment is fixed, before any of it is written.
        """

        @contextmanager
        def opening() -> Iterator[PostgresWriteModel]:
            with open_write_model(self.store.engine) as written:
                written.sequences(["fixes the moment"])
                if while_reading:
                    while_reading()
                yield written

        return Projector(self.read_model, opening)

    def answer(self, *commands: Command) -> list[ProductEvent]:
        """Decide these, one transaction each; the events of products that came out."""
        before = len(self.store.published())
        for command in commands:
            if isinstance(command, LapseHold):
                self._end_hold(command)
            else:
                process(self.store.unit_of_work, message(command))
        return [
            wire.product_event(event.type, json.dumps(event.body).encode())
            for event in self.store.published()[before:]
            if event.sku is not None
        ]

    def _end_hold(self, command: LapseHold) -> None:
        """As the relay does: that command has no place in the inbox."""
        with self.store.unit_of_work() as uow:
            uow.products.lock_for([command])
            BUS.handle(message(command), uow)
            uow.commit()

    def forget_history(self) -> None:
        """As if all events were too old to be kept."""
        self.store.execute("DELETE FROM outbox_pages")

    def differences(self) -> list[str]:
        return comparing.compare(comparing.read_model(self.redis_url), comparing.write_model(self._database_url))


def delivered(events: Sequence[ProductEvent]) -> list[EventMessage]:
    """The events, as they come off the queue."""
    return [EventMessage(event, "any", "id", "conversation") for event in events]
