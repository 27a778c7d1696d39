"""The errors of the RabbitMQ adapter. pika's own errors do not leave this package."""

from collections.abc import Mapping
from types import MappingProxyType

from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker

from allocation_contracts import AllocationError

# What a blocking connection of pika may raise. AMQPConnectorException, which is no AMQPError, is raised if a broker
# accepts the connection and does not answer.
CONNECTION_ERRORS = (AMQPError, AMQPConnectorException, OSError)

ACCESS_REFUSED = 403
"""The broker's reply code for a missing permission."""

NOT_FOUND = 404
"""The broker's reply code for an exchange or a queue that does not exist."""

RUN_TOPOLOGY = "run `allocation-worker topology`."
GIVE_PERMISSION = "an administrator can give this user the permission."

REMEDIES: Mapping[int, str] = MappingProxyType({NOT_FOUND: RUN_TOPOLOGY, ACCESS_REFUSED: GIVE_PERMISSION})
"""What the operator can do, by the broker's reply code."""


class RabbitMQError(AllocationError):
    """The broker, or an exchange or queue on it, is not as the worker needs it. The text is for the operator."""


class BrokerError(RabbitMQError):
    """No broker could be reached, or the broker refused."""


class TopologyMismatchError(RabbitMQError):
    """An exchange or a queue exists on the broker with other arguments."""


class ReplacementUnfinishedError(BrokerError):
    """A queue is being replaced, so it must not be declared now."""


class NotASubscribersQueueError(RabbitMQError):
    """The queue is one of the worker's own, so events must not be replayed to it."""


class TopologyMissingError(RabbitMQError):
    """An exchange or a queue that the worker needs does not exist on the broker."""


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
    return BrokerError(f"The broker refused: {said}; {GIVE_PERMISSION}")
