"""Process a group of messages in one transaction, or in parts if the group fails."""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from allocation_contracts import AllocationError
from allocation_worker.domain.errors import RefusalError
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Outcome
from allocation_worker.service_layer.ports import (
    Receipt,
    StoreContentionError,
    StoreUnavailableError,
    UnitOfWork,
    UnitOfWorkFactory,
)
from allocation_worker.service_layer.retries import RetryPolicy

CONTENTION_ATTEMPTS = 6

log = structlog.get_logger()


class _MessageFailedError(AllocationError):
    """One message of a group failed, and which."""

    def __init__(self, error: Exception, *, position: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.position = position


class GroupProcessor:
    """Turns messages into outcomes. A message that fails does not affect the others.

    Args:
        bus: Handles each command.
        new_unit_of_work: Opens a transaction.
        policy: Decides about messages that fail.
        sleep: Waits this many seconds after contention.
    """

    def __init__(
        self,
        bus: MessageBus,
        new_unit_of_work: UnitOfWorkFactory,
        policy: RetryPolicy,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bus = bus
        self._new_unit_of_work = new_unit_of_work
        self._policy = policy
        self._sleep = sleep

    def process(self, messages: Sequence[CommandMessage]) -> list[Outcome]:
        """Return the outcome of each message, in their order. What is `Done` is durable.

        It is safe to process the same messages again after any error.

        Raises:
            StoreUnavailableError: The store is away, and what was committed is unknown. Call again when it is back.
            StoreContentionError: Other transactions interfered several times. Call again later.
        """
        return self._attempt(messages)[0] if messages else []

    def _attempt(self, messages: Sequence[CommandMessage]) -> tuple[list[Outcome], bool]:
        """Return the outcomes, and whether any of the messages failed."""
        try:
            return self._transact_patiently(messages), False
        except (StoreUnavailableError, StoreContentionError):
            raise
        except _MessageFailedError as failure:
            error, position = failure.error, failure.position
        except Exception as failure:  # noqa: BLE001 - any error becomes a retry or a dead letter
            error, position = failure, None
        if len(messages) == 1:
            return [self._after_failure(error, messages[0])], True
        log.warning("group_failed", messages=len(messages), error=f"{type(error).__name__}: {error}")
        return self._halve(messages) if position is None else self._take_out(messages, position), True

    def _take_out(self, messages: Sequence[CommandMessage], position: int) -> list[Outcome]:
        """Process a group in which one message has failed: those before it, itself, and the others in halves.

        The others have not been tried yet. As one part they would be tried again and again if many of them fail.
        """
        middle = (position + 1 + len(messages)) // 2
        ends = [0, position, position + 1, middle, len(messages)]
        parts = [messages[start:end] for start, end in pairwise(ends) if start < end]
        return [outcome for part in parts for outcome in self._attempt(part)[0]]

    def _halve(self, messages: Sequence[CommandMessage]) -> list[Outcome]:
        """Process two halves of a group that has failed, in order, until what fails stands alone."""
        middle = len(messages) // 2
        first, second = messages[:middle], messages[middle:]
        outcomes, failed = self._attempt(first)
        if failed or len(second) == 1:
            return outcomes + self._attempt(second)[0]
        return outcomes + self._halve(second)  # it failed in there: to attempt all of it again would be in vain

    def _transact_patiently(self, messages: Sequence[CommandMessage]) -> list[Outcome]:
        patience = Retrying(
            retry=retry_if_exception_type(StoreContentionError),
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            stop=stop_after_attempt(CONTENTION_ATTEMPTS),
            sleep=self._sleep,
            reraise=True,
        )
        return patience(self._transact, messages)

    def _transact(self, messages: Sequence[CommandMessage]) -> list[Outcome]:
        with self._new_unit_of_work() as uow:
            receipts = uow.inbox.receive(messages)
            taken = list(zip(messages, receipts, strict=True))
            uow.products.lock_for(message.command for message, receipt in taken if receipt is Receipt.FRESH)
            outcomes: list[Outcome] = []
            for message, receipt in taken:
                try:
                    outcomes.append(self._answer(message, receipt, uow))
                except (StoreUnavailableError, StoreContentionError):
                    raise
                except Exception as error:
                    raise _MessageFailedError(error, position=len(outcomes)) from error
            uow.commit()
        return outcomes

    def _answer(self, message: CommandMessage, receipt: Receipt, uow: UnitOfWork) -> Outcome:
        if receipt is Receipt.REPEAT:
            return Done()
        if receipt is Receipt.CONFLICT:
            return DeadLettered(
                reason="message-id-conflict",
                detail=f"Another message was taken under the message_id {message.message_id!r}; send this one under "
                "an id of its own.",
            )
        try:
            self._bus.handle(message, uow)
        except RefusalError as refusal:
            if retry := self._policy.after_refusal(refusal, message):
                uow.inbox.forget(message)
                return retry
            self._bus.reject(message, refusal, uow)
        return Done()

    def _after_failure(self, error: Exception, message: CommandMessage) -> Outcome:
        outcome = self._policy.after_failure(error, message)
        log.error(
            "message_failed",
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            type=message.type,
            exc_info=error,
        )
        return outcome
