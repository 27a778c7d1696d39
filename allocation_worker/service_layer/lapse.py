"""Ends the holds whose time has passed. Several processes may do so at once: a hold lapses once."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from allocation_worker.domain.commands import LapseHold
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import StoreLockTimeoutError, UnitOfWork, UnitOfWorkFactory

AT_A_TIME = 500
"""Holds that end in one transaction."""


class DueHold(NamedTuple):
    """A hold whose time has passed.

    Attributes:
        sku: The SKU of the line.
        orderid: The order of the line.
        lineid: The id of the line.
        message_id: Of the message that asked for the hold.
        correlation_id: Of that message.
    """

    sku: str
    orderid: str
    lineid: str
    message_id: str
    correlation_id: str


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
        self._locked: dict[str, list[DueHold]] = {}
        self._waited_for: set[str] = set()

    def step(self) -> bool:
        """End holds that are due, AT_A_TIME at most. Return whether there may be more now.

        A hold that was prolonged, confirmed or given back since it was found is left alone. Those of a product that
        others have locked are left for later, so that the holds of other products lapse meanwhile. In the end, one of
        these products is waited for, a moment only.

        Raises:
            StoreError: The database is unreachable; try again.
        """
        found = self._due.find(AT_A_TIME, self._locked)
        if found:
            self._end_those_free(found)
        more = len(found) == AT_A_TIME
        if not more and self._locked:
            self._wait_for_one()
            self._locked.clear()
        return more

    def _end_those_free(self, found: Sequence[DueHold]) -> None:
        with self._new_unit_of_work() as uow:
            locked = {product.sku for product in uow.products.locked_by_others({hold.sku for hold in found})}
            for hold in found:
                if hold.sku in locked:
                    self._locked.setdefault(hold.sku, []).append(hold)
            self._end([hold for hold in found if hold.sku not in locked], uow)

    def _wait_for_one(self) -> None:
        """End the holds of a locked product, another one each time.

        A product that several consumers use all the time is never found free: one of them always waits for it.
        """
        left = [sku for sku in self._locked if sku not in self._waited_for]
        if not left:
            left = list(self._locked)
            self._waited_for.clear()
        self._waited_for.add(left[0])
        with suppress(StoreLockTimeoutError), self._new_unit_of_work() as uow:
            self._end(self._locked[left[0]], uow, patient=False)

    def _end(self, holds: Sequence[DueHold], uow: UnitOfWork, *, patient: bool = True) -> None:
        messages = [message_of(hold) for hold in holds]
        uow.products.lock_for([message.command for message in messages], patient=patient)
        for message in messages:
            self._bus.handle(message, uow)
        uow.commit()


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
