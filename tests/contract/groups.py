"""Commands in short, and groups of them, for the contract of the store."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from allocation_worker.domain.commands import Allocate, ChangeBatchQuantity, Command, CreateBatch, Deallocate
from allocation_worker.service_layer.groups import GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import Done, Outcome
from tests.contract.conftest import Store
from tests.fakes import policies
from tests.fakes.messages import message
from tests.fakes.unit_of_work import Published

BUS = MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS)


def create(batchref: str, qty: int, *, sku: str = "LAMP", eta: date | None = None) -> CreateBatch:
    return CreateBatch(batchref=batchref, sku=sku, qty=qty, eta=eta)


def change(batchref: str, qty: int) -> ChangeBatchQuantity:
    return ChangeBatchQuantity(batchref=batchref, qty=qty)


def order(orderid: str, qty: int = 1, *, sku: str = "LAMP", lineid: str = "") -> Allocate:
    return Allocate(orderid=orderid, sku=sku, qty=qty, lineid=lineid)


def wait(orderid: str, qty: int = 1, *, priority: int = 0, needed_by: date | None = None) -> Allocate:
    return replace(order(orderid, qty), wait=True, priority=priority, needed_by=needed_by)


def cancel(orderid: str, *, sku: str = "LAMP", lineid: str = "") -> Deallocate:
    return Deallocate(orderid=orderid, sku=sku, lineid=lineid)


def process(store: Store, *messages: CommandMessage | Command, grace: int = 0) -> list[Outcome]:
    """One group."""
    group = [each if isinstance(each, CommandMessage) else message(each) for each in messages]
    return GroupProcessor(BUS, store.unit_of_work, policies.with_grace(grace)).process(group)


def given(store: Store, *commands: Command) -> None:
    assert process(store, *commands) == [Done()] * len(commands)


def briefly(events: Sequence[Published]) -> list[str]:
    return [
        " ".join(
            str(part)
            for part in (event.type, event.body.get("orderid"), event.body.get("batchref"), event.body.get("reason"))
            if part
        )
        for event in events
    ]
