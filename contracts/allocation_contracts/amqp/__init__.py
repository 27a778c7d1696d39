"""A confirmed publisher and a subscriber on pika: `pip install allocation-contracts[pika]`."""

try:
    import pika as _pika
except ImportError as error:
    raise ImportError(
        "allocation_contracts.amqp needs pika: install allocation-contracts[pika]. The models alone need it not."
    ) from error

from allocation_contracts.amqp.errors import (
    AccessRefusedError,
    PublishError,
    RefusedError,
    SubscriptionError,
    UnconfirmedError,
    UnreachableError,
    UnroutableError,
)
from allocation_contracts.amqp.outgoing import Outgoing
from allocation_contracts.amqp.publisher import Publisher
from allocation_contracts.amqp.subscriber import Handler, Subscriber
from allocation_contracts.amqp.urls import AddressError
from allocation_contracts.renamed import aliases

del _pika

__all__ = [
    "AccessRefusedError",
    "AddressError",
    "Handler",
    "Outgoing",
    "PublishError",
    "Publisher",
    "RefusedError",
    "Subscriber",
    "SubscriptionError",
    "UnconfirmedError",
    "UnreachableError",
    "UnroutableError",
]

__getattr__ = aliases(
    __name__,
    {
        "Refused": "RefusedError",
        "Unconfirmed": "UnconfirmedError",
        "Unreachable": "UnreachableError",
        "Unroutable": "UnroutableError",
    },
)
