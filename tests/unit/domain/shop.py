"""A shop of one SKU, for the tests of the rules: commands in short, and what came of them."""

from datetime import date
from typing import Any

from allocation_worker.domain.commands import Allocate, Command, CreateBatch, Deallocate
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from tests.fakes.messages import message
from tests.fakes.unit_of_work import FakeDatabase

SOON, LATER = date(2031, 1, 1), date(2031, 2, 1)


class Shop:
    """Handles commands, and tells what came of the last one."""

    def __init__(self) -> None:
        self.database = FakeDatabase()
        self._bus = MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS)

    def __call__(self, *commands: Command) -> list[tuple[str, str, str | None]]:
        return [told for command in commands for told in self.together(command)]

    def together(self, *commands: Command) -> list[tuple[str, str, str | None]]:
        """Handle commands in one transaction: the fake copies all lines for each."""
        before = len(self.database.published())
        with self.database.unit_of_work() as uow:
            for command in commands:
                self._bus.handle(message(command), uow)
            uow.commit()
        return [_brief(event.type, event.body) for event in self.database.published()[before:]]


def _brief(type_: str, body: dict[str, Any]) -> tuple[str, str, str | None]:
    return (type_.removesuffix(".v1"), body.get("orderid", ""), body.get("batchref"))


def create(batchref: str, qty: int, eta: date | None = None) -> CreateBatch:
    return CreateBatch(batchref=batchref, sku="LAMP", qty=qty, eta=eta)


def order(orderid: str, qty: int, **terms: Any) -> Allocate:
    return Allocate(orderid=orderid, sku="LAMP", qty=qty, **terms)


def wait(orderid: str, qty: int, **terms: Any) -> Allocate:
    return order(orderid, qty, wait=True, **terms)


def cancel(orderid: str) -> Deallocate:
    return Deallocate(orderid=orderid, sku="LAMP")
