"""What can go wrong between the worker and its broker; pika's own errors never leave this package."""

from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError

from allocation_contracts import AllocationError

# What a blocking connection of pika's may raise. The second, for a broker that takes the connection and says nothing,
# is not among its exceptions.
CONNECTION_ERRORS = (AMQPError, AMQPConnectorException, OSError)

ACCESS_REFUSED = 403
"""The broker's code for what its user may not do."""

NOT_FOUND = 404
"""The broker's code for an exchange or a queue that is not there."""

RUN_TOPOLOGY = "run `allocation-worker topology`."


class RabbitMQError(AllocationError):
    """The broker, or what stands on it, is not as the worker needs it. Its text is for the operator."""


class BrokerError(RabbitMQError):
    """No broker could be reached, or the one that was refused what was asked."""


class TopologyMismatchError(RabbitMQError):
    """An exchange or a queue stands on the broker with other arguments than the worker's."""


class NotASubscribersQueueError(RabbitMQError):
    """Events do not belong into this queue."""


class TopologyMissingError(RabbitMQError):
    """An exchange or a queue that the worker needs does not stand on the broker."""
