"""The default retry policy of tests."""

from dataclasses import replace

from allocation_worker.service_layer.retries import RetryPolicy

USUAL = RetryPolicy(grace_attempts=3, grace_delay=1, delays=(1, 5, 30))


def with_grace(attempts: int) -> RetryPolicy:
    """The usual one with this many attempts for refusals that may pass."""
    return replace(USUAL, grace_attempts=attempts)
