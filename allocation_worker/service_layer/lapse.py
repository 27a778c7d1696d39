"""Ends the holds whose time has passed. Several processes may do so at once: a hold lapses once."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

import structlog

from allocation_worker.domain.commands import LapseHold
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import (
    StoreLockTimeoutError,
    StoreUnavailableError,
    UnitOfWork,
    UnitOfWorkFactory,
)

AT_A_TIME = 500
"""Holds that end in one transaction."""

LONG_QUEUE = 100
"""So many lines of a product that wait are a long queue: what a hold gives back may serve all of them."""

AT_A_TIME_WITH_QUEUE = 100
"""Holds that end in one transaction, all of one product that has a long queue."""

log = structlog.get_logger()


class DueHold(NamedTuple):
    """A hold whose time has passed.

    Attributes:
        sku: The SKU of the line.
        orderid: The order of the line.
        lineid: The id of the line.
        message_id: Of the message that asked for the hold.
        correlation_id: Of that message.
        has_long_queue: Whether LONG_QUEUE lines of the SKU wait.
    """

    sku: str
    orderid: str
    lineid: str
    message_id: str
    correlation_id: str
    has_long_queue: bool = False


class DueHolds(Protocol):
    """Finds the holds that have to end."""

    def find(self, limit: int, besides: Collection[str]) -> Sequence[DueHold]:
        """Return some of the holds whose time has passed by the clock of the database, those due first.

        Args:
            limit: The most holds.
            besides: SKUs whose holds are left out.

        Raises:
            StoreError: The database is unreachable.
        """


class HoldLapser:
    """Ends holds, a few hundred in one transaction.

    Args:
        due: Finds them.
        bus: Handles the command that ends one.
        new_unit_of_work: Opens a transaction.
    """

    def __init__(self, due: DueHolds, bus: MessageBus, new_unit_of_work: UnitOfWorkFactory) -> None:
        self._due = due
        self._bus = bus
        self._new_unit_of_work = new_unit_of_work
        # Products of this round: locked by others; to be seen to last, one by one; tried, and left for the next round.
        self._locked: dict[str, list[DueHold]] = {}
        self._apart: dict[str, list[DueHold]] = {}
        self._tried: set[str] = set()
        # Products of all rounds: waited for since each was; logged; whose holds could not be ended the last time.
        self._waited_for: set[str] = set()
        self._told: set[str] = set()
        self._failed: set[str] = set()

    def step(self) -> bool:
        """End holds that are due, AT_A_TIME at most in one transaction. Return whether there may be more now.

        A hold that was prolonged, confirmed or given back since it was found is left alone. Those of a product that
        others have locked are left for later, so that the holds of other products lapse meanwhile. In the end, one of
        these products is waited for, a moment only.

        Some products come after those, one in each step and in a transaction of its own. To serve a long queue may take
        seconds, in which the other products would be locked. And a product whose holds cannot be ended, since its rows
        contradict each other, must not keep the others.

        Raises:
            StoreUnavailableError: The database is unreachable, or somebody must mend it; try again.
        """
        found = self._due.find(AT_A_TIME, {*self._locked, *self._apart, *self._tried})
        _add_by_sku(self._apart, (hold for hold in found if hold.has_long_queue or hold.sku in self._failed))
        if together := [hold for hold in found if hold.sku not in self._apart]:
            self._end_together(together)
        if len(found) == AT_A_TIME:
            return True
        self._told &= {*self._locked, *self._apart, *self._tried}
        if self._locked:
            self._wait_for_one()
            self._locked.clear()
        more = bool(self._apart) and self._end_some_apart()
        if not more:
            self._tried.clear()
        return more

    def _end_those_free(self, found: Sequence[DueHold]) -> None:
        with self._new_unit_of_work() as uow:
            locked = {product.sku for product in uow.products.locked_by_others({hold.sku for hold in found})}
            _add_by_sku(self._locked, (hold for hold in found if hold.sku in locked))
            self._end([hold for hold in found if hold.sku not in locked], uow)

    def _end_together(self, holds: Sequence[DueHold]) -> None:
        try:
            self._end_those_free(holds)
        except StoreUnavailableError:
            raise
        except Exception as failure:  # noqa: BLE001 - any error is that of one product, which is found apart
            log.debug("holds_apart", error=f"{type(failure).__name__}: {failure}")
            self._locked.clear()
            _add_by_sku(self._apart, holds)

    def _wait_for_one(self) -> None:
        """End the holds of a locked product, another one each time.

        A product that several consumers use all the time is never found free: one of them always waits for it.
        """
        left = [sku for sku in self._locked if sku not in self._waited_for]
        if not left:
            left = list(self._locked)
            self._waited_for.clear()
        self._waited_for.add(left[0])
        self._end_soon(self._locked[left[0]])

    def _end_some_apart(self) -> bool:
        """End holds of the product that comes next of those apart. Return whether there may be more now."""
        sku, holds = next(iter(self._apart.items()))
        del self._apart[sku]
        at_a_time = AT_A_TIME_WITH_QUEUE if holds[0].has_long_queue else AT_A_TIME
        ended = self._end_soon(holds[:at_a_time])
        if not ended:
            self._tried.add(sku)
        return bool(self._apart) or (ended and len(holds) > at_a_time)

    def _end_soon(self, holds: Sequence[DueHold]) -> bool:
        """End holds of one product. Return False if it stays locked for a moment, or they cannot be ended.

        That is logged, but not again before the holds of that product have ended.
        """
        sku = holds[0].sku
        try:
            with self._new_unit_of_work() as uow:
                self._end(holds, uow, patient=False)
        except StoreLockTimeoutError:
            if sku not in self._told:
                log.warning("holds_wait", sku=sku, holds=len(holds))
        except StoreUnavailableError:
            raise
        except Exception:  # it is logged with its traceback, and tried again in the next round
            if sku not in self._told:
                log.exception("holds_failed", sku=sku, holds=len(holds))
            self._failed.add(sku)
        else:
            self._told.discard(sku)
            self._failed.discard(sku)
            return True
        self._told.add(sku)
        return False

    def _end(self, holds: Sequence[DueHold], uow: UnitOfWork, *, patient: bool = True) -> None:
        messages = [message_of(hold) for hold in holds]
        uow.products.lock_for([message.command for message in messages], patient=patient)
        for message in messages:
            self._bus.handle(message, uow)
        uow.commit()


def _add_by_sku(known: dict[str, list[DueHold]], holds: Iterable[DueHold]) -> None:
    for hold in holds:
        known.setdefault(hold.sku, []).append(hold)


def message_of(hold: DueHold) -> CommandMessage:
    """Return the command that ends a hold. Its events name the message that asked for the hold as their cause."""
    return CommandMessage(
        command=LapseHold(orderid=hold.orderid, sku=hold.sku, lineid=hold.lineid, message_id=hold.message_id),
        type="lapse-hold",
        message_id=hold.message_id,
        correlation_id=hold.correlation_id,
        traceparent=None,
        fingerprint=b"",
        data={},
    )
