"""The handler tables are complete, and the message bus handles events."""

from typing import get_args

import pytest

from allocation_worker.domain import commands, events
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.ports import UnitOfWork
from tests.fakes.messages import message
from tests.fakes.unit_of_work import FakeDatabase


def test_every_command_has_a_handler() -> None:
    assert set(COMMAND_HANDLERS) == set(get_args(commands.Command))


def test_every_event_has_an_entry() -> None:
    assert set(EVENT_HANDLERS) == {*get_args(events.Event), *get_args(events.RaisedEvent)}


@pytest.mark.parametrize("missing", get_args(commands.Command))
def test_a_command_without_handler_shows_at_start(missing: type[commands.Command]) -> None:
    table = {command: handler for command, handler in COMMAND_HANDLERS.items() if command is not missing}
    with pytest.raises(LookupError, match=f"table of command handlers for {missing.__name__}"):
        MessageBus(table, EVENT_HANDLERS)


@pytest.mark.parametrize("missing", [*get_args(events.Event), events.Unsettled])
def test_an_event_without_entry_shows_at_start(missing: type[events.Event]) -> None:
    table = {event: handlers for event, handlers in EVENT_HANDLERS.items() if event is not missing}
    with pytest.raises(LookupError, match=f"table of event handlers for {missing.__name__}"):
        MessageBus(COMMAND_HANDLERS, table)


def test_events_are_followed_in_the_order_in_which_they_happened() -> None:
    followed: list[str] = []

    def follow(event: events.Allocated, uow: UnitOfWork) -> None:
        """React to the first line by ordering another."""
        followed.append(event.orderid)
        if event.orderid == "first" and (product := uow.products.get(event.sku, ("reaction", ""))):
            product.allocate(("reaction", ""), 1)

    bus = MessageBus(COMMAND_HANDLERS, {**EVENT_HANDLERS, events.Allocated: [follow, follow]})
    database = FakeDatabase()
    with database.unit_of_work() as uow:
        bus.handle(message(commands.CreateBatch(batchref="b", sku="LAMP", qty=9)), uow)
        bus.handle(message(commands.Allocate(orderid="first", sku="LAMP", qty=1), "cause"), uow)
        uow.commit()
    # Each handler orders it once; the second time it is announced again.
    assert followed == ["first", "first", "reaction", "reaction", "reaction", "reaction"]
    told = database.published()[1:]
    assert [event.body["orderid"] for event in told] == ["first", "reaction", "reaction"]
    assert {event.causation_id for event in told} == {"cause"}
