"""Predict the outcome of a message: run the real handlers in a transaction that is rolled back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from allocation_worker.domain.commands import Command
from allocation_worker.domain.errors import RefusalError
from allocation_worker.domain.events import CommandRejected, Event
from allocation_worker.service_layer.handlers import CommandHandler, EventHandler
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import (
    Receipt,
    StoreContentionError,
    StoreUnavailableError,
    UnitOfWork,
    UnitOfWorkFactory,
)


class Prospect(Enum):
    """The outcome that a message would have."""

    ANSWERED = "answered"
    ALREADY_DONE = "already done"
    CONFLICT = "dead-lettered again"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What came of a rehearsal.

    Attributes:
        prospect: How the message would end.
        events: What would be published, its outcome first.
        failure: What the handler raised.
    """

    prospect: Prospect
    events: Sequence[Event] = ()
    failure: Exception | None = None


class Rehearsal:
    """Runs messages for show. Each is run as if it were the only one: none sees what another would have done.

    Args:
        command_handlers: The real ones.
        event_handlers: The real ones.
        new_unit_of_work: Gives units of work whose `commit` writes everything, and takes it back.
    """

    def __init__(
        self,
        command_handlers: Mapping[type[Command], CommandHandler],
        event_handlers: Mapping[type[Event], Sequence[EventHandler]],
        new_unit_of_work: UnitOfWorkFactory,
    ) -> None:
        noting = {kind: (self._note, *handlers) for kind, handlers in event_handlers.items()}
        self._bus = MessageBus(command_handlers, noting)
        self._new_unit_of_work = new_unit_of_work
        self._events: list[Event] = []

    def rehearse(self, message: CommandMessage) -> Rehearsed:
        """Run one message.

        Raises:
            StoreUnavailableError: The store cannot be asked.
            StoreContentionError: Other transactions are in the way; ask again.
        """
        self._events = []
        try:
            with self._new_unit_of_work() as uow:
                [receipt] = uow.inbox.receive([message])
                if receipt is Receipt.REPEAT:
                    return Rehearsed(prospect=Prospect.ALREADY_DONE)
                if receipt is Receipt.CONFLICT:
                    return Rehearsed(prospect=Prospect.CONFLICT)
                self._handle(message, uow)
                uow.commit()
        except (StoreUnavailableError, StoreContentionError):
            raise
        except Exception as error:  # noqa: BLE001 - it is what is asked for: what the handler would raise
            return Rehearsed(prospect=Prospect.FAILED, failure=error)
        return Rehearsed(prospect=Prospect.ANSWERED, events=tuple(self._events))

    def _handle(self, message: CommandMessage, uow: UnitOfWork) -> None:
        uow.products.lock_for([message.command])
        try:
            self._bus.handle(message, uow)
        except RefusalError as refusal:
            self._bus.reject(message, refusal, uow)
            self._events.append(CommandRejected(reason=refusal.reason, detail=str(refusal)))

    def _note(self, event: Event, _uow: UnitOfWork) -> None:
        self._events.append(event)
