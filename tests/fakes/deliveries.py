"""A delivery buffer in memory, with prepared groups, which records its calls."""

from collections import deque
from collections.abc import Sequence

from allocation_worker.service_layer.outcomes import Outcome
from tests.fakes.messages import FakeDelivery


class FakeDeliveries:
    """Ends when the groups are used up. Where None is for a group, time passes without one.

    Attributes:
        acked: The deliveries and their outcomes, in order.
        story: What was called, in order.
    """

    queue = "allocation.orders"

    def __init__(self, *groups: Sequence[FakeDelivery] | None) -> None:
        self._groups = deque(groups)
        self.acked: list[tuple[FakeDelivery, Outcome]] = []
        self.story: list[str] = []

    def take(self, limit: int, within: float | None = None) -> list[FakeDelivery] | None:
        self.story.append(f"take {limit}")
        group = self._groups.popleft() if self._groups else []
        if group is None:
            assert within is not None
            return None
        return list(group)

    def ack(self, results: Sequence[tuple[FakeDelivery, Outcome]]) -> None:
        self.story.append(f"ack {len(results)}")
        self.acked += results

    def hold(self) -> None:
        self.story.append("hold")

    def release(self) -> None:
        self.story.append("release")
