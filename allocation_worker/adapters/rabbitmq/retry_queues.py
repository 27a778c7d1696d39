"""The names of the queues in which messages wait for their next attempt."""


def retry_queue(queue: str, delay: int) -> str:
    """Return the name of the queue where messages of `queue` wait for `delay` seconds."""
    return f"{queue}.retry-{delay}s"


def earlier_retry_queue(queue: str, delay: int) -> str:
    """Return the name that this queue had in earlier versions, where it led back through the default exchange."""
    return f"{queue}.retry.{delay}s"


def is_retry_queue(name: str, queue: str) -> bool:
    """Return whether this is the name of a retry queue of `queue`, in this or an earlier version."""
    return name.startswith((f"{queue}.retry-", f"{queue}.retry."))
