"""The deliveries that wait for a locked product: kept unacked and in order, and tried again soon."""

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from allocation_worker.service_layer.outcomes import LockedProduct
from allocation_worker.service_layer.ports import Delivered

LOOK_EVERY = 0.25
"""Seconds between two looks at the locks."""

log = structlog.get_logger()

D = TypeVar("D", bound=Delivered)
M = TypeVar("M")


class SetAsideDeliveries(Generic[D, M]):
    """The deliveries of one queue that are set aside, in the order in which they came.

    The log has one line when a product has had the same lock at two looks, and one when nothing waits for it any more.

    Args:
        queue: The queue, for the log.
        clock: Returns seconds that never go back.

    Attributes:
        waiting: The messages, and what each waits for.
    """

    def __init__(self, queue: str, *, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._clock = clock
        self._deliveries: list[tuple[D, M]] = []
        self.waiting: list[tuple[M, LockedProduct]] = []
        self._before: dict[str, str] = {}
        self._told: dict[str, float] = {}
        self._look_at = 0.0

    @property
    def due_in(self) -> float | None:
        """The seconds until the next look, 0 if it is due; None if nothing is set aside."""
        return max(0.0, self._look_at - self._clock()) if self._deliveries else None

    @property
    def generation(self) -> int | None:
        """The number of the channel that they came by; None if nothing is set aside."""
        return self._deliveries[0][0].generation if self._deliveries else None

    def add(self, delivery: D, message: M, product: LockedProduct) -> None:
        """Set a delivery aside, behind the others."""
        if not self._deliveries:
            self._look_at = self._clock() + LOOK_EVERY
        self._deliveries.append((delivery, message))
        self.waiting.append((message, product))

    def take_all(self) -> tuple[list[tuple[D, M]], dict[str, str]]:
        """Return all deliveries, and the lock of each product that they wait for; nothing is set aside any more."""
        taken = self._deliveries
        self._before = {product.sku: product.lock for _, product in self.waiting}
        self._deliveries, self.waiting = [], []
        return taken, self._before

    def looked_again(self) -> None:
        """Take note that all deliveries have been tried again: those that are here now wait for longer."""
        self._look_at = self._clock() + LOOK_EVERY
        counts = Counter(product.sku for _, product in self.waiting)
        for product in {product.sku: product for _, product in self.waiting}.values():
            if product.sku not in self._told and self._before.get(product.sku) == product.lock:
                self._told[product.sku] = self._clock()
                log.warning("product_set_aside", queue=self._queue, sku=product.sku, messages=counts[product.sku])
        for sku in [sku for sku in self._told if sku not in counts]:
            self._tell_free(sku)

    def clear(self) -> None:
        """Forget them all: they are delivered again."""
        self._told.clear()
        self._deliveries, self.waiting = [], []

    def _tell_free(self, sku: str) -> None:
        seconds = round(self._clock() - self._told.pop(sku), 1)
        log.info("product_free_again", queue=self._queue, sku=sku, seconds=seconds)
