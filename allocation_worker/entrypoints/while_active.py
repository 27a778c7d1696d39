"""Work in a thread of its own, while this relay is the active one."""

from collections.abc import Callable
from threading import Event
from time import monotonic

from tenacity import sleep_using_event

from allocation_worker.entrypoints.availability import until_available

LOOK_EVERY = 1.0
"""Seconds between two looks at whether this relay is the active one, and at what there is to do."""


class WhileActive:
    """The time in which this relay is the active one.

    Args:
        active: Is set while this relay is the active one.
        stopping: Set it to stop.
        sleep: Waits so many seconds; by default until `stopping` is set.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        active: Event,
        *,
        stopping: Event,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.sleep = sleep or sleep_using_event(stopping)
        self.clock = clock
        self._active = active
        self._stopping = stopping

    def lasts(self) -> bool:
        """Return whether to work on."""
        return self._active.is_set() and not self._stopping.is_set()

    def run(self, work: Callable[[], None], task: str) -> None:
        """Work whenever it lasts, through any absence of the database, until told to stop.

        Args:
            work: Works as long as it lasts.
            task: What the log calls that.
        """
        while not self._stopping.is_set():
            if self._active.is_set():
                until_available(
                    work,
                    stopping=self._stopping,
                    waiting_for="the database",
                    sleep=self.sleep,
                    clock=self.clock,
                    once=True,
                    task=task,
                )
            else:
                self.sleep(LOOK_EVERY)
