"""The names of what exists while a queue is replaced, and what a moved message carries."""

from pika.spec import BasicProperties

MOVING_EXCHANGE = "allocation.replacing"
"""Leads to the queue that is being replaced. It exists from the first step of a replacement to its last."""

MOVED_FROM_HEADER = "x-moved-from-exchange"
"""On a message that was moved: the exchange that it was published to. It counts on the moving exchange only."""


def stand_in(queue: str) -> str:
    """Return the name of the queue that takes new messages meanwhile, and of the exchange in front of it."""
    return f"{queue}.replacing"


def gate(queue: str) -> str:
    """Return the name of the exchange behind it, and of the queue that refuses while the last messages are moved."""
    return f"{queue}.replacing.gate"


def remainder(queue: str) -> str:
    """Return the name of the queue, and of its exchange, for what nobody consumes from the old queue."""
    return f"{queue}.replacing.rest"


def original_exchange(exchange: str, properties: BasicProperties) -> str:
    """Return the exchange that a delivery was published to, and take the mark of a move out of its headers.

    Args:
        exchange: The exchange that the broker names.
        properties: Its properties.
    """
    if exchange != MOVING_EXCHANGE or not properties.headers:
        return exchange
    properties.headers = dict(properties.headers)
    moved_from = properties.headers.pop(MOVED_FROM_HEADER, None)
    return moved_from if isinstance(moved_from, str) else exchange
