"""The names of the queues in which messages wait for their next attempt."""


def retry_queue(queue: str, delay: int) -> str:
    """Return the name of the queue where messages of `queue` wait for `delay` seconds."""
    return f"{_prefix(queue)}{delay}s"


def is_retry_queue(name: str, queue: str) -> bool:
    """Return whether this is the name of a retry queue of `queue`."""
    return name.startswith(_prefix(queue))


def _prefix(queue: str) -> str:
    return f"{queue}.retry."
