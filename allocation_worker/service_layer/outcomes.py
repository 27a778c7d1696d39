"""What happens to a delivery next, as a value. The consumer acts on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """Its effect and events are committed, now or by an earlier delivery: acknowledge it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Nothing is committed: publish a copy to the retry queue, then acknowledge the original.

    Attributes:
        after: The delay in seconds, which names the retry queue.
        attempts: How many attempts have failed, including this one. The copy carries it.
    """

    after: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered:
    """Nothing is committed: publish a copy to the dead letters, then acknowledge the original."""

    reason: str
    detail: str
    attempts: int = 1
    exception: str | None = None


Outcome = Done | Retry | DeadLettered
