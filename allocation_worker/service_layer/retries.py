"""Whether, and when, a message that failed is to come again: pure decisions."""

from dataclasses import dataclass

from allocation_worker.domain.errors import Refusal
from allocation_worker.service_layer.messages import Message
from allocation_worker.service_layer.outcomes import DeadLetter, Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Delays are in whole seconds; each needs its retry queue, see `all_delays`.

    A refusal that may pass is tried `grace_attempts` more times, `grace_delay` apart, before it is an answer. An
    unexpected failure is tried again after each of `delays`, then it is a dead letter.
    """

    grace_attempts: int = 3
    grace_delay: int = 1
    delays: tuple[int, ...] = (1, 5, 30)

    @property
    def all_delays(self) -> tuple[int, ...]:
        return tuple(sorted({self.grace_delay, *self.delays}))

    def after_refusal(self, refusal: Refusal, message: Message) -> Retry | None:
        """None: the refusal stands."""
        if refusal.may_pass and message.attempts < self.grace_attempts:
            return Retry(after=self.grace_delay, attempts=message.attempts + 1)
        return None

    def after_failure(self, error: Exception, message: Message) -> Retry | DeadLetter:
        attempts = message.attempts + 1
        if message.attempts < len(self.delays):
            return Retry(after=self.delays[message.attempts], attempts=attempts)
        return DeadLetter(
            reason="handler-failed",
            detail=f"{message.type} {message.message_id!r} failed {attempts} times; mend the cause, then redrive it.",
            attempts=attempts,
            exception=f"{type(error).__name__}: {error}",
        )
