"""What is to become of a delivery, decided here as a value and acted on by whoever holds the channel."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """Its effect and its events are committed, now or by an earlier delivery: ack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Nothing is committed: send a copy through the retry queue of `after` seconds, then ack.

    `attempts` is how many have failed, this one included; it travels with the copy.
    """

    after: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Nothing is committed, nor will be: send it to the dead letters with these words, then ack."""

    reason: str
    detail: str
    attempts: int = 1
    exception: str | None = None


Outcome = Done | Retry | DeadLetter
