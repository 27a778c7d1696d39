"""The message bus: runs the handler of a command, then the handlers of the events that follow."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import get_args

from allocation_worker.domain.commands import Command
from allocation_worker.domain.errors import RefusalError
from allocation_worker.domain.events import CommandRejected, Event, RaisedEvent, Unsettled
from allocation_worker.service_layer.handlers import CommandHandler, EventHandlers
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import UnitOfWork


class MessageBus:
    """Dispatches each command to its one handler, and each event to any number of handlers.

    Raises:
        LookupError: A command or an event is missing from its table. This is checked at the start.
    """

    def __init__(
        self,
        command_handlers: Mapping[type[Command], CommandHandler],
        event_handlers: EventHandlers,
    ) -> None:
        _check_complete("command", get_args(Command), command_handlers)
        _check_complete("event", {*get_args(Event), *get_args(RaisedEvent)}, event_handlers)
        self._command_handlers = command_handlers
        self._event_handlers = event_handlers

    def handle(self, message: CommandMessage, uow: UnitOfWork) -> None:
        """Run the command, then the handlers of its events in their order. All events are added to the outbox.

        Raises:
            RefusalError: A business rule forbids the command; nothing has changed.
        """
        self._command_handlers[type(message.command)](message.command, uow)
        unfollowed = deque(uow.collect_new_events())
        while unfollowed:
            event = unfollowed.popleft()
            if not isinstance(event, Unsettled):
                uow.outbox.add(event, message)
            for handler in self._event_handlers[type(event)]:
                handler(event, uow)
                unfollowed.extend(uow.collect_new_events())

    def reject(self, message: CommandMessage, refusal: RefusalError, uow: UnitOfWork) -> None:
        """Add the answer to a refused command to the outbox."""
        uow.outbox.add(CommandRejected(reason=refusal.reason, detail=str(refusal)), message)


def _check_complete(kind: str, expected: Iterable[type], table: Mapping[type, object]) -> None:
    missing = [each.__name__ for each in expected if each not in table]
    if missing:
        raise LookupError(f"No entry in the table of {kind} handlers for {', '.join(missing)}.")
