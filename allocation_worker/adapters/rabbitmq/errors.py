"""What can go wrong between the worker and its broker; pika's own errors never leave this package."""

from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker

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


def refused(error: ChannelClosedByBroker) -> BrokerError:
    """Return what the broker closed a channel over, as one sentence for the operator."""
    if error.reply_code == ACCESS_REFUSED:
        return permission_missing(error.reply_text)
    return BrokerError(f"The broker refused: {error.reply_text} ({error.reply_code}).")


def permission_missing(reply_text: str) -> BrokerError:
    """Return the error for a permission that the broker's user does not have.

    Args:
        reply_text: What the broker said, such as "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused for
            user 'u'".
    """
    said = reply_text.removeprefix("ACCESS_REFUSED - ")
    return BrokerError(f"The broker refused: {said}; an administrator can give this user the permission.")
