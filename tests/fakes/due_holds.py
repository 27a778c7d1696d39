"""Finds the holds in memory whose time has passed."""

from collections.abc import Collection

from allocation_worker.domain.lines import Holding, OrderLine
from allocation_worker.domain.model import Product
from allocation_worker.service_layer.lapse import LONG_QUEUE, DueHold
from tests.fakes.unit_of_work import FakeDatabase


class FakeDueHolds:
    """The holds whose time has passed by the clock of the database.

    Attributes:
        failures: what the next calls raise, the last first.
    """

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self.failures: list[Exception] = []

    def find(self, limit: int, besides: Collection[str]) -> list[DueHold]:
        if self.failures:
            raise self.failures.pop()
        now = self._database.now()
        found = [
            (line.hold.until, due(product, line, line.hold))
            for sku, product in self._database.committed.products.items()
            for line in product.lines.values()
            if line.hold and line.hold.until <= now and sku not in besides
        ]
        return [hold for _, hold in sorted(found, key=lambda each: each[0])[:limit]]


def due(product: Product, line: OrderLine, hold: Holding) -> DueHold:
    has_long_queue = sum(each.waits for each in product.lines.values()) >= LONG_QUEUE
    return DueHold(product.sku, line.orderid, line.lineid, hold.message_id, hold.correlation_id, has_long_queue)
