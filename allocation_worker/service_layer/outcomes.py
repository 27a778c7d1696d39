"""What happens to a delivery next, as a value. The consumer acts on it."""

from dataclasses import dataclass, field

MESSAGE_ID_CONFLICT = "message-id-conflict"
"""The reason of a dead letter whose message_id another message has used."""


@dataclass(frozen=True, slots=True)
class Done:
    """Its effect and events are committed, now or by an earlier delivery: acknowledge it.

    Attributes:
        rejected: The reason if the answer is a rejection, for the metrics.
    """

    rejected: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Nothing is committed: publish a copy to the retry queue, then acknowledge the original.

    Attributes:
        after: The delay in seconds, which names the retry queue.
        attempts: How many attempts have failed, including this one. The copy carries it.
        detail: Why, in a sentence, for the log.
        cause: The error if it was not expected, for the log.
    """

    after: int
    attempts: int
    detail: str = field(default="", compare=False)
    cause: Exception | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered:
    """Nothing is committed: publish a copy to the dead letters, then acknowledge the original.

    Attributes:
        reason: Why, as a slug of the contract.
        detail: The same in a sentence.
        attempts: How many attempts have failed.
        exception: The last error, as the copy carries it.
        cause: The last error itself, for the log.
    """

    reason: str
    detail: str
    attempts: int = 1
    exception: str | None = None
    cause: Exception | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class LockedProduct:
    """A product that another transaction has locked.

    Attributes:
        sku: Its SKU.
        lock: Stands for the transaction: another one has another text.
    """

    sku: str
    lock: str


@dataclass(frozen=True, slots=True)
class SetAside:
    """Nothing is committed: keep it unacknowledged, and process it again soon, before what comes after it.

    Attributes:
        product: The product that it waits for, or that a message before it waits for.
    """

    product: LockedProduct


Outcome = Done | Retry | DeadLettered | SetAside
