"""Process a group of messages in one transaction, or in parts if the group fails."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import inf

import structlog
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from allocation_contracts import AllocationError
from allocation_worker.domain.errors import RefusalError
from allocation_worker.service_layer.aside import Aside
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import (
    MESSAGE_ID_CONFLICT,
    DeadLettered,
    Done,
    LockedProduct,
    Outcome,
    SetAside,
)
from allocation_worker.service_layer.ports import (
    Receipt,
    StoreContentionError,
    StoreLockTimeoutError,
    StoreUnavailableError,
    UnitOfWork,
    UnitOfWorkFactory,
)
from allocation_worker.service_layer.retries import RetryPolicy

CONTENTION_ATTEMPTS = 6
PATIENT_FOR = 10.0
"""Seconds for which locks are waited for in line after a product was found to be in use by several consumers."""
_NO_LOCKS: Mapping[str, str] = {}

log = structlog.get_logger()


class _MessageFailedError(AllocationError):
    """One message of a group failed, and which."""

    def __init__(self, error: Exception, *, position: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.position = position


def _is_worth_another_attempt(error: BaseException) -> bool:
    return isinstance(error, StoreContentionError) and not isinstance(error, StoreLockTimeoutError)


class GroupProcessor:
    """Turns messages into outcomes. A message that fails does not affect the others.

    Args:
        bus: Handles each command.
        new_unit_of_work: Opens a transaction.
        policy: Decides about messages that fail.
        sleep: Waits this many seconds after contention.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self,
        bus: MessageBus,
        new_unit_of_work: UnitOfWorkFactory,
        policy: RetryPolicy,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._new_unit_of_work = new_unit_of_work
        self._policy = policy
        self._sleep = sleep
        self._clock = clock
        self._patient_until = -inf

    def process(
        self,
        messages: Sequence[CommandMessage],
        behind: Sequence[tuple[CommandMessage, LockedProduct]] = (),
        again: Mapping[str, str] = _NO_LOCKS,
    ) -> list[Outcome]:
        """Return the outcome of each message, in their order. What is `Done` is durable.

        Messages whose product somebody has locked for long are set aside, and those that must not overtake them.

        It is safe to process the same messages again after any error.

        Args:
            messages: The messages.
            behind: Messages that are set aside, and that these must not overtake, with what each waits for.
            again: If these messages have been set aside, the lock of each product that they waited for. A product that
                still has that lock is not waited for; one that has another is in use, and is waited for in line.

        Raises:
            StoreUnavailableError: The store is away, and what was committed is unknown. Call again when it is back.
            StoreContentionError: Other transactions interfered several times. Call again later.
        """
        if not messages:
            return []
        aside = Aside()
        if behind:
            self._find_owners([*(message for message, _ in behind), *messages], aside)
        for message, product in behind:
            aside.add(message, product)
        if again:
            self._set_aside_again(messages, again, aside)
        return self._attempt(messages, aside, patient=self._clock() < self._patient_until)[0]

    def _set_aside_again(self, messages: Sequence[CommandMessage], again: Mapping[str, str], aside: Aside) -> None:
        """Set aside what still waits for the same lock. If a product has been locked anew, be patient for a while."""
        locked = self._look(messages, aside)
        same = [product for product in locked if again.get(product.sku, product.lock) == product.lock]
        self._set_aside(messages, same, aside)
        if len(same) < len(locked):
            self._patient_until = self._clock() + PATIENT_FOR

    def _look(self, messages: Sequence[CommandMessage], aside: Aside) -> list[LockedProduct]:
        """Return the products of these messages that others have locked."""
        self._find_owners(messages, aside)
        skus = {sku for message in messages for sku in aside.skus(message.command)}
        with self._new_unit_of_work() as uow:
            return uow.products.locked_by_others(skus)

    def _set_aside(self, messages: Sequence[CommandMessage], locked: Sequence[LockedProduct], aside: Aside) -> None:
        products = {product.sku: product for product in locked}
        for message in messages:
            for sku in aside.skus(message.command) & products.keys():
                aside.add(message, products[sku])

    def _find_owners(self, messages: Sequence[CommandMessage], aside: Aside) -> None:
        if unknown := aside.without_owner(messages):
            with self._new_unit_of_work() as uow:
                aside.learn(uow.products.skus_of_batches(unknown))

    def _attempt(
        self, messages: Sequence[CommandMessage], aside: Aside, *, patient: bool = False
    ) -> tuple[list[Outcome], bool]:
        """Return the outcomes, and whether any of the messages failed."""
        if aside:
            self._find_owners(messages, aside)
        waits_for = aside.sort_out(messages)
        going_on = [message for message, product in zip(messages, waits_for, strict=True) if product is None]
        outcomes, failed = self._attempt_all(going_on, aside, patient=patient) if going_on else ([], False)
        found = iter(outcomes)
        return [SetAside(product) if product else next(found) for product in waits_for], failed

    def _attempt_all(
        self, messages: Sequence[CommandMessage], aside: Aside, *, patient: bool
    ) -> tuple[list[Outcome], bool]:
        try:
            return self._transact_patiently(messages, patient=patient), False
        except StoreLockTimeoutError:
            locked = self._look(messages, aside)
            if patient and not locked:
                raise
            self._set_aside(messages, locked, aside)
            return self._attempt(messages, aside, patient=not locked)
        except (StoreUnavailableError, StoreContentionError):
            raise
        except _MessageFailedError as failure:
            error, position = failure.error, failure.position
        except Exception as failure:  # noqa: BLE001 - any error becomes a retry or a dead letter
            error, position = failure, None
        if len(messages) == 1:
            return [self._policy.after_failure(error, messages[0])], True
        log.debug("group_halved", messages=len(messages), error=f"{type(error).__name__}: {error}")
        if position is None:
            return self._halve(messages, aside), True
        return self._take_out(messages, position, aside), True

    def _take_out(self, messages: Sequence[CommandMessage], position: int, aside: Aside) -> list[Outcome]:
        """Process a group in which one message has failed: those before it, itself, and the others in halves.

        The others have not been tried yet. As one part they would be tried again and again if many of them fail.
        """
        middle = (position + 1 + len(messages)) // 2
        ends = [0, position, position + 1, middle, len(messages)]
        parts = [messages[start:end] for start, end in pairwise(ends) if start < end]
        return [outcome for part in parts for outcome in self._attempt(part, aside)[0]]

    def _halve(self, messages: Sequence[CommandMessage], aside: Aside) -> list[Outcome]:
        """Process two halves of a group that has failed, in order, until what fails stands alone."""
        middle = len(messages) // 2
        first, second = messages[:middle], messages[middle:]
        outcomes, failed = self._attempt(first, aside)
        if failed or len(second) == 1:
            return outcomes + self._attempt(second, aside)[0]
        return outcomes + self._halve(second, aside)  # it failed in there: to attempt all of it again would be in vain

    def _transact_patiently(self, messages: Sequence[CommandMessage], *, patient: bool) -> list[Outcome]:
        patience = Retrying(
            retry=retry_if_exception(_is_worth_another_attempt),
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            stop=stop_after_attempt(CONTENTION_ATTEMPTS),
            sleep=self._sleep,
            reraise=True,
        )
        return patience(self._transact, messages, patient=patient)

    def _transact(self, messages: Sequence[CommandMessage], *, patient: bool) -> list[Outcome]:
        with self._new_unit_of_work() as uow:
            receipts = uow.inbox.receive(messages)
            taken = list(zip(messages, receipts, strict=True))
            fresh = (message.command for message, receipt in taken if receipt is Receipt.FRESH)
            uow.products.lock_for(fresh, patient=patient)
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
                reason=MESSAGE_ID_CONFLICT,
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
            return Done(rejected=refusal.reason)
        return Done()
