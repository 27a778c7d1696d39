"""Lets holds lapse, in a thread of its own, while this relay is the active one."""

from collections.abc import Callable
from threading import Event
from time import monotonic

from tenacity import sleep_using_event

from allocation_worker.entrypoints.availability import until_available
from allocation_worker.service_layer.lapse import HoldLapser

LOOK_EVERY = 1.0
"""Seconds between two looks for holds whose time has passed, and at whether this relay is the active one."""


class Lapsing:
    """Ends the holds that are due while this relay is the active one, through any absence of the database.

    Args:
        lapser: Ends some of them.
        active: Is set while this relay is the active one.
        stopping: Set it to stop.
        sleep: Waits so many seconds; by default until `stopping` is set.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        lapser: HoldLapser,
        *,
        active: Event,
        stopping: Event,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._lapser = lapser
        self._active = active
        self._stopping = stopping
        self._sleep = sleep or sleep_using_event(stopping)
        self._clock = clock

    def run(self) -> None:
        """End holds until told to stop."""
        while not self._stopping.is_set():
            if self._active.is_set():
                until_available(
                    self._end_due,
                    stopping=self._stopping,
                    waiting_for="the database",
                    sleep=self._sleep,
                    clock=self._clock,
                    once=True,
                    task="holds",
                )
            else:
                self._sleep(LOOK_EVERY)

    def _end_due(self) -> None:
        while self._active.is_set() and not self._stopping.is_set():
            more = self._lapser.step()
            # Each sleep is a sign of life, even the shortest.
            self._sleep(0.0 if more else LOOK_EVERY)
