"""The names of the queues in which messages wait for their next attempt.

Up to 0.1.0 a message went back through the default exchange, and a queue's arguments cannot change. So the retry queues
through which messages go back by an exchange of their own have names of their own.
"""


def retry_queue(queue: str, delay: int) -> str:
    """Return the name of the queue where messages of `queue` wait for `delay` seconds."""
    return f"{queue}.retrying.{delay}s"


def old_retry_queue(queue: str, delay: int) -> str:
    """Return the name that `retry_queue` had up to version 0.1.0."""
    return f"{queue}.retry.{delay}s"


def is_retry_queue(name: str, queue: str) -> bool:
    """Return whether this is the name of a retry queue of `queue`, of this version or of an older one."""
    return name.startswith((f"{queue}.retrying.", f"{queue}.retry."))
