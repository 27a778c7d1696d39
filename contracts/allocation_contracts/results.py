"""What became of a published message."""

from enum import Enum


class PublishResult(Enum):
    """The broker's answer to a message, or what is known without one."""

    CONFIRMED = "every queue that it goes to has it"
    RETURNED = "it goes to no queue"
    NACKED = "the broker refused it, or it cannot be encoded"
    LOST = "the channel was closed before the answer: it may have arrived"
