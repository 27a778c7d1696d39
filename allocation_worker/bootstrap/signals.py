"""Stops a long-running process on SIGTERM or SIGINT."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic

import structlog

ONE_WISH = 1.0
"""Seconds in which several signals are one: some supervisors send one to the process and one to its group."""

CLOSING_TIME = 10.0
"""Seconds to close connections after the last group is done, or is given up."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger()


@contextmanager
def stopped_by_signals(stop: Callable[[], None], *, within: float) -> Iterator[None]:
    """Call `stop` on the first SIGTERM or SIGINT. Exit at once on another one a second later, and when time is up.

    A thread of its own takes the signals: the main thread may be in a call of the database that does not return.

    Args:
        stop: Called in that thread.
        within: Seconds after the first signal in which the block must end.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    thread = Thread(target=_take, args=(reading, stop, within), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(writing)
        thread.join()
        os.close(reading)


def _take(reading: int, stop: Callable[[], None], within: float) -> None:
    asked: float | None = None
    while True:
        left = None if asked is None else max(0.0, asked + within - monotonic())
        if not select.select([reading], [], [], left)[0]:
            log.error("stop_timed_out", seconds=within, detail="What is not acknowledged is delivered again.")
            os._exit(128 + signal.SIGTERM)
        numbers = os.read(reading, 64)
        if not numbers:
            return
        for number in numbers:
            if asked is None:
                asked = monotonic()
                log.info("stopping", signal=signal.Signals(number).name)
                stop()
            elif monotonic() - asked >= ONE_WISH:
                os._exit(128 + number)
