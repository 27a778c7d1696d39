"""What can go wrong between a program and the broker. pika's own errors never leave this package."""

from allocation_contracts.errors import AllocationError


class PublishError(AllocationError):
    """A command was not confirmed.

    Attributes:
        message_id: The command's, to publish it again with.
    """

    def __init__(self, message_id: str, text: str) -> None:
        super().__init__(message_id, text)
        self.message_id = message_id
        self._text = text

    def __str__(self) -> str:
        return self._text


class UnroutableError(PublishError):
    """No queue takes the command: the worker's exchanges, queues and bindings do not stand on the broker."""


class RefusedError(PublishError):
    """The broker did not take the command: its queue is full, or this user may not publish there."""


class UnreachableError(PublishError):
    """No broker could be reached in time. The command was not published."""


class UnconfirmedError(PublishError):
    """The command was published and no confirm came in time: it may have arrived, or may not."""


class SubscriptionError(AllocationError):
    """The broker will not have this subscription, however often it is tried; the text says why, and what to do."""


_LONGEST_WORDS = 300


def words(error: BaseException | str) -> str:
    """Why there is no connection, in one line.

    pika wraps the cause twice, in errors whose own text is empty or a tuple of others.
    """
    cause: object = error
    while isinstance(inner := _inside(cause), BaseException | str) and inner:
        cause = inner
    told = (cause.strerror if isinstance(cause, OSError) else "") or str(cause) or type(cause).__name__
    return " ".join(told.split())[:_LONGEST_WORDS]


def _inside(error: object) -> object:
    if isinstance(error, OSError) or not isinstance(error, Exception):
        return None
    if tried := getattr(error, "exceptions", ()):
        return tried[-1]
    return getattr(error, "exception", None) or (error.args[0] if error.args else None)
