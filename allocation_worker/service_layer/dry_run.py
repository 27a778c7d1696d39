"""Predict the outcome of a message: run the real handlers in a transaction that is rolled back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar, get_args

from allocation_worker.domain.commands import Command
from allocation_worker.domain.errors import RefusalError
from allocation_worker.domain.events import CommandRejected, Event
from allocation_worker.service_layer.handlers import CommandHandler, EventHandlers
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import (
    Letter,
    Receipt,
    StoreContentionError,
    StoreUnavailableError,
    UnitOfWork,
    UnitOfWorkFactory,
)
from allocation_worker.service_layer.wording import counted

L = TypeVar("L", bound=Letter)


class Prospect(Enum):
    """The outcome that a message would have."""

    ANSWERED = "answered"
    ALREADY_DONE = "already done"
    CONFLICT = "dead-lettered again"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunResult:
    """The result of a dry run.

    Attributes:
        prospect: How the message would end.
        events: What would be published, its outcome first.
        failure: What the handler raised.
    """

    prospect: Prospect
    events: Sequence[Event] = ()
    failure: Exception | None = None


class DryRun:
    """Runs messages and rolls back. No message sees the effects of another.

    Args:
        command_handlers: The handlers of `consume`.
        event_handlers: The handlers of `consume`.
        new_unit_of_work: Returns units of work whose `commit` writes everything, then rolls back.
    """

    def __init__(
        self,
        command_handlers: Mapping[type[Command], CommandHandler],
        event_handlers: EventHandlers,
        new_unit_of_work: UnitOfWorkFactory,
    ) -> None:
        published = get_args(Event)
        noting = {
            kind: (self._note, *handlers) if kind in published else handlers
            for kind, handlers in event_handlers.items()
        }
        self._bus = MessageBus(command_handlers, noting)
        self._new_unit_of_work = new_unit_of_work
        self._events: list[Event] = []

    def run(self, message: CommandMessage) -> DryRunResult:
        """Run one message.

        Raises:
            StoreUnavailableError: The store is unreachable.
            StoreContentionError: Another transaction holds the locks; try again.
        """
        self._events = []
        try:
            with self._new_unit_of_work() as uow:
                [receipt] = uow.inbox.receive([message])
                if receipt is Receipt.REPEAT:
                    return DryRunResult(prospect=Prospect.ALREADY_DONE)
                if receipt is Receipt.CONFLICT:
                    return DryRunResult(prospect=Prospect.CONFLICT)
                self._handle(message, uow)
                uow.commit()
        except (StoreUnavailableError, StoreContentionError):
            raise
        except Exception as error:  # noqa: BLE001 - what the handler raises is the result
            return DryRunResult(prospect=Prospect.FAILED, failure=error)
        return DryRunResult(prospect=Prospect.ANSWERED, events=tuple(self._events))

    def _handle(self, message: CommandMessage, uow: UnitOfWork) -> None:
        uow.products.lock_for([message.command])
        try:
            self._bus.handle(message, uow)
        except RefusalError as refusal:
            self._bus.reject(message, refusal, uow)
            self._events.append(CommandRejected(reason=refusal.reason, detail=str(refusal)))

    def _note(self, event: Event, _uow: UnitOfWork) -> None:
        self._events.append(event)


def predict_redrive(
    letter: L,
    *,
    reason_to_keep: Callable[[L], str | None],
    read: Callable[[L], CommandMessage],
    dry_run: DryRun,
    write: Callable[[Event, CommandMessage], tuple[str, str]],
) -> str:
    """Return the outcome that redriving a dead letter would have now, as a sentence without its subject.

    Args:
        letter: The dead letter.
        reason_to_keep: Returns why it must stay, or None.
        read: Reads its command.
        dry_run: Predicts the outcome of the command.
        write: Returns the type and body of an event on the wire.
    """
    if reason := reason_to_keep(letter):
        return f"would be left: {reason}"
    message = read(letter)
    result = dry_run.run(message)
    match result.prospect:
        case Prospect.ALREADY_DONE:
            return "is done already: this message was processed under its message_id; it would change nothing."
        case Prospect.CONFLICT:
            return "would be dead-lettered again: another message was processed under its message_id."
        case Prospect.FAILED:
            return f"would fail again: {type(result.failure).__name__}: {result.failure}"
        case Prospect.ANSWERED:
            type_, body = write(result.events[0], message)
            more = len(result.events) - 1
            others = f", and {counted(more, 'more event')}" if more else ""
            return f"would be answered by {type_} {body}{others}."
