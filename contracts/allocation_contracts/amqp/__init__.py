"""A confirmed publisher and a subscriber on pika: `pip install allocation-contracts[pika]`."""

try:
    import pika as _pika
except ImportError as error:
    raise ImportError(
        "allocation_contracts.amqp needs pika: install allocation-contracts[pika]. The models alone need it not."
    ) from error

from allocation_contracts.amqp.errors import (
    PublishError,
    Refused,
    SubscriptionError,
    Unconfirmed,
    Unreachable,
    Unroutable,
)
from allocation_contracts.amqp.outgoing import Outgoing
from allocation_contracts.amqp.publisher import Publisher
from allocation_contracts.amqp.subscriber import Handler, Subscriber

del _pika

__all__ = [
    "Handler",
    "Outgoing",
    "PublishError",
    "Publisher",
    "Refused",
    "Subscriber",
    "SubscriptionError",
    "Unconfirmed",
    "Unreachable",
    "Unroutable",
]
