"""Decide whether, and when, a message that failed is tried again."""

from dataclasses import dataclass

from allocation_worker.domain.errors import RefusalError
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import DeadLettered, Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and after which delays, messages are tried again. Delays are in whole seconds.

    Attributes:
        grace_attempts: How many more times a refusal that may pass is tried before it is final.
        grace_delay: The delay before each of those.
        delays: The delay before each further attempt of a message that failed unexpectedly; then it is dead-lettered.
    """

    grace_attempts: int
    grace_delay: int
    delays: tuple[int, ...]

    @property
    def all_delays(self) -> tuple[int, ...]:
        """Return each delay once, in ascending order. Each needs its own retry queue."""
        return tuple(sorted({self.grace_delay, *self.delays}))

    def after_refusal(self, refusal: RefusalError, message: CommandMessage) -> Retry | None:
        """Return how to try again, or None if the refusal is final."""
        if refusal.may_pass and message.attempts < self.grace_attempts:
            return Retry(after=self.grace_delay, attempts=message.attempts + 1, detail=str(refusal))
        return None

    def after_failure(self, error: Exception, message: CommandMessage) -> Retry | DeadLettered:
        """Return what becomes of a message whose handler raised an unexpected error."""
        attempts = message.attempts + 1
        told = f"{type(error).__name__}: {error}"
        if message.attempts < len(self.delays):
            return Retry(after=self.delays[message.attempts], attempts=attempts, detail=told, cause=error)
        return DeadLettered(
            reason="handler-failed",
            detail=f"{message.type} {message.message_id!r} failed {attempts} times; fix the cause, then redrive it.",
            attempts=attempts,
            exception=told,
            cause=error,
        )
