"""Waiting for a server that is away."""

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import TypeVar

import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from allocation_worker.service_layer.ports import StoreError

LONGEST_PAUSE = 2.0
"""Seconds. A failover of the database takes up to this much longer than it must."""

log = structlog.get_logger()

T = TypeVar("T")


def until_available(
    call: Callable[[], T],
    *,
    stopping: Event,
    waiting_for: str,
    unavailable: tuple[type[Exception], ...] = (StoreError,),
    sleep: Callable[[float], None] | None = None,
    clock: Callable[[], float] = monotonic,
    on_failure: Callable[[], None] | None = None,
    once: bool = False,
    **context: object,
) -> T | None:
    """Call until it returns, with a random pause after each failure: up to 0.1 s, 0.2 s and so on, and 2 s at most.

    The pauses start anew after a call that worked for longer than the longest pause before it failed.

    Args:
        call: Is tried at least once.
        stopping: Once it is set, nothing is tried again.
        waiting_for: The server's name, for the log.
        unavailable: The errors that pass, by themselves or once somebody has mended the store. Any other is raised.
        sleep: Waits so many seconds; by default until `stopping` is set.
        clock: Seconds that never go back.
        on_failure: Called after each failure.
        once: Log the first failure only, of those that follow each other.
        context: More fields for the log.

    Returns:
        What `call` returns; None if `stopping` was set before it did.
    """

    def failed(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if state.attempt_number == 1 or not once:
            seconds = round(state.upcoming_sleep, 1)
            log.warning("waiting", waiting_for=waiting_for, seconds=seconds, error=str(error), **context)
        if on_failure is not None:
            on_failure()

    attempts = Retrying(
        retry=retry_if_exception_type(unavailable),
        stop=stop_when_event_set(stopping),
        wait=wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE),
        sleep=sleep or sleep_using_event(stopping),
        before_sleep=failed,
        retry_error_callback=failed,
    )
    for attempt in attempts:
        if attempt.retry_state.attempt_number > 1 and stopping.is_set():
            return None
        began = clock()
        with attempt:
            return call()
        if clock() - began > LONGEST_PAUSE:
            attempt.retry_state.attempt_number = 1
    return None
