"""How fast the answers come: a rate, and its recent past."""

from collections import deque

_SLOT = 0.5
_SLOTS = 20
_RATE_OVER = 4


class Meter:
    """Counts in slots of half a second. Times are seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._slots: deque[int] = deque([0] * _SLOTS, maxlen=_SLOTS)
        self._slot = 0
        self._total = 0

    def read(self, total: int, *, at: float) -> None:
        """Note how many there have been in all, at this time."""
        slot = int(at / _SLOT)
        passed = slot - self._slot if self._slot else 0
        self._slots.extend([0] * min(passed, _SLOTS))
        self._slot = slot
        self._slots[-1] += total - self._total
        self._total = total

    @property
    def per_second(self) -> float:
        """The rate of the last two seconds, without the half second that is still going on."""
        return sum(list(self._slots)[-_RATE_OVER - 1 : -1]) / (_RATE_OVER * _SLOT)

    @property
    def history(self) -> list[int]:
        """The counts of the last ten seconds, oldest first, a number for each half second."""
        return list(self._slots)
