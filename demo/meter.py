"""Measures the rate of answers, and its recent history."""

from collections import deque

_SLOT = 0.5
_SLOTS = 20
_RATE_OVER = 4


class Meter:
    """Counts in slots of half a second. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._slots: deque[int] = deque([0] * _SLOTS, maxlen=_SLOTS)
        self._slot = 0
        self._total = 0

    def read(self, total: int, *, at: float) -> None:
        """Record the total count at this time."""
        slot = int(at / _SLOT)
        passed = slot - self._slot if self._slot else 0
        self._slots.extend([0] * min(passed, _SLOTS))
        self._slot = slot
        self._slots[-1] += total - self._total
        self._total = total

    @property
    def per_second(self) -> float:
        """Return the rate of the last two seconds, without the current half second."""
        return sum(list(self._slots)[-_RATE_OVER - 1 : -1]) / (_RATE_OVER * _SLOT)

    @property
    def history(self) -> list[int]:
        """Return the counts of the last ten seconds, oldest first, one per half second."""
        return list(self._slots)
