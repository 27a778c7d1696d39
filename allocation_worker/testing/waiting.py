"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], bool], *, within: float, otherwise: Callable[[], str], every: float = 0.02
) -> None:
    """Return as soon as the condition holds.

    Args:
        condition: Asked again and again.
        within: Seconds.
        otherwise: What to say if it never holds.
        every: Seconds between two looks.

    Raises:
        TimeoutError: It did not hold in time.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(every)
