"""What a product knows of its lines that wait, without reading them."""

from dataclasses import dataclass

from allocation_worker.domain.lines import Turn
from allocation_worker.domain.stock import Stock

MANY = 2**31
"""More than a line's quantity can be."""


@dataclass(slots=True)
class WaitingQueue:
    """The lines of a product that wait. When stock was freed, they are looked at in the order of their turns.

    Attributes:
        smallest: No line that waits has a smaller quantity; None if none waits.
        stock_freed: Whether stock was freed, and the end of the queue has not been reached since.
        served_up_to: The last line that has been looked at since; None at the beginning.
    """

    smallest: int | None
    stock_freed: bool = False
    served_up_to: Turn | None = None
    _smallest_left: int = MANY

    def join(self, qty: int) -> None:
        """Take note of a line that waits from now on."""
        self.smallest = min(self.smallest or qty, qty)

    def may_fit(self, stock: Stock) -> bool:
        """Return whether a batch may have enough for one of the lines."""
        return self.smallest is not None and stock.largest_available >= self.smallest

    def pass_over(self, qty: int) -> None:
        """Take note that lines of this quantity at least wait on."""
        self._smallest_left = min(self._smallest_left, qty)

    def end(self) -> None:
        """Take note that all lines have been looked at."""
        self.smallest = self._smallest_left
        self.rest()

    def rest(self) -> None:
        """Begin anew when stock is freed again."""
        self.stock_freed = False
        self.served_up_to = None
        self._smallest_left = MANY
