"""A small checkout: what a customer has bought becomes a request for stock, line by line."""

from collections.abc import Sequence
from dataclasses import dataclass

from allocation_contracts import Allocate, Deallocate
from allocation_contracts.amqp import Outgoing, Publisher


@dataclass(frozen=True, slots=True)
class Line:
    """So many of a SKU."""

    sku: str
    qty: int


class Checkout:
    """Asks for stock; what it has asked it can ask again, since the same question has the same message_id."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def place(self, orderid: str, basket: Sequence[Line]) -> None:
        """Ask for stock for each line; when this returns, the broker keeps the requests safe.

        Raises:
            PublishError: They may not be safe: place the order again, with the same basket.
        """
        self._publisher.publish_all(
            Outgoing(
                command=Allocate(orderid=orderid, sku=line.sku, qty=line.qty, lineid=str(number)),
                message_id=f"{orderid}/{number}/place",
                correlation_id=orderid,
            )
            for number, line in enumerate(basket, start=1)
        )

    def cancel(self, orderid: str, basket: Sequence[Line]) -> None:
        """Give the stock of each line back.

        Raises:
            PublishError: As `place`.
        """
        self._publisher.publish_all(
            Outgoing(
                command=Deallocate(orderid=orderid, sku=line.sku, lineid=str(number)),
                message_id=f"{orderid}/{number}/cancel",
                correlation_id=orderid,
            )
            for number, line in enumerate(basket, start=1)
        )
