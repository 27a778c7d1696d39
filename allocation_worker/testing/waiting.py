"""Waits for a condition, with a deadline."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], bool], *, within: float, otherwise: Callable[[], str], every: float = 0.02
) -> None:
    """Return as soon as the condition holds.

    Args:
        condition: Called repeatedly.
        within: Seconds to wait at most.
        otherwise: Returns the text of the TimeoutError.
        every: Seconds between two calls.

    Raises:
        TimeoutError: The condition did not hold in time.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(every)
