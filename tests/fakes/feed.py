"""A feed in memory: the groups to hand out are given beforehand, and what becomes of them is written down."""

from collections import deque
from collections.abc import Sequence

from allocation_worker.service_layer.outcomes import Outcome
from tests.fakes.messages import FakeDelivery


class FakeFeed:
    """Ends when the groups are used up.

    Attributes:
        settled: deliveries and their outcomes, in order.
        story: what was asked of the feed, in order.
        error: what it failed with.
    """

    queue = "allocation.orders"

    def __init__(self, *groups: Sequence[FakeDelivery]) -> None:
        self._groups = deque(groups)
        self.settled: list[tuple[FakeDelivery, Outcome]] = []
        self.story: list[str] = []
        self.error: BaseException | None = None

    def take(self, limit: int) -> list[FakeDelivery]:
        self.story.append(f"take {limit}")
        return list(self._groups.popleft()) if self._groups else []

    def settle(self, results: Sequence[tuple[FakeDelivery, Outcome]]) -> None:
        self.story.append(f"settle {len(results)}")
        self.settled += results

    def hold(self) -> None:
        self.story.append("hold")

    def release(self) -> None:
        self.story.append("release")

    def finished(self) -> None:
        self.story.append("finished")

    def failed(self, error: BaseException) -> None:
        self.story.append("failed")
        self.error = error
