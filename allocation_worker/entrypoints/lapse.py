"""Lets holds lapse while this relay is the active one."""

from allocation_worker.entrypoints.while_active import LOOK_EVERY, WhileActive
from allocation_worker.service_layer.lapse import HoldLapser


class Lapsing:
    """Ends the holds that are due.

    Args:
        lapser: Ends some of them.
        while_active: When to do so.
    """

    def __init__(self, lapser: HoldLapser, while_active: WhileActive) -> None:
        self._lapser = lapser
        self._while_active = while_active

    def run(self) -> None:
        """End holds until told to stop."""
        self._while_active.run(self._end_due, "holds")

    def _end_due(self) -> None:
        while self._while_active.lasts():
            more = self._lapser.step()
            # Each sleep is a sign of life, even the shortest.
            self._while_active.sleep(0.0 if more else LOOK_EVERY)
