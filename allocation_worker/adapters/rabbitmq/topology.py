"""Declares the exchanges, queues and bindings on the broker, and checks that they exist.

The exchanges and queues are those of the wire contract, and one retry queue for each command queue and each delay. A
message expires in a retry queue after the delay and goes back to its command queue. A retry queue has one delay only,
since a message expires only at the head of its queue. Retrying, redriving, replaying and parking have an exchange each.
So nobody needs permission to write to the default exchange, which leads to every queue.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from allocation_contracts.amqp.queues import NO_DELIVERY_LIMIT
from allocation_contracts.commands import COMMANDS
from allocation_contracts.names import (
    COMMANDS_EXCHANGE,
    DEAD_LETTERS,
    EVENTS_EXCHANGE,
    ORDERS_QUEUE,
    PARKING_EXCHANGE,
    REDRIVING_EXCHANGE,
    REPLAYING_EXCHANGE,
    RETRYING_EXCHANGE,
    STOCK_QUEUE,
)
from allocation_worker.adapters.rabbitmq.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    RUN_TOPOLOGY,
    BrokerError,
    NotASubscribersQueueError,
    TopologyMismatchError,
    TopologyMissingError,
    refused,
)
from allocation_worker.adapters.rabbitmq.retry_queues import is_retry_queue, old_retry_queue, retry_queue
from allocation_worker.adapters.rabbitmq.urls import connect_any

log = structlog.get_logger()

_PRECONDITION_FAILED = 406

_QUORUM = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-dead-letter-strategy": "at-least-once"}

_COMMAND_QUEUE = _QUORUM | {"x-delivery-limit": 20, "x-dead-letter-exchange": DEAD_LETTERS}

_COMMAND_QUEUES: dict[str, dict[str, Any]] = {
    ORDERS_QUEUE: _COMMAND_QUEUE,
    # Two changes of one batch are to be applied in the order in which they were sent.
    STOCK_QUEUE: _COMMAND_QUEUE | {"x-single-active-consumer": True},
}

_EXCHANGES_BY_QUEUE_NAME = (RETRYING_EXCHANGE, REDRIVING_EXCHANGE, REPLAYING_EXCHANGE, PARKING_EXCHANGE)

READ_MODEL_QUEUE = "allocation.read-model"

# A dead letter has nowhere else to go.
_DEAD_LETTERS_QUEUE = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-delivery-limit": NO_DELIVERY_LIMIT}


def command_queue(name: str) -> str | None:
    """Return the command queue of this name, or the one that this retry queue belongs to; None for other names."""
    return next((own for own in _COMMAND_QUEUES if name == own or is_retry_queue(name, own)), None)


def declare(urls: Sequence[str], retry_delays: Sequence[int]) -> None:
    """Declare everything. What exists is left as it is, so this can be run before every release.

    Args:
        urls: AMQP addresses; the first that answers is used.
        retry_delays: The delays in seconds. Each gets a retry queue for each command queue.

    Raises:
        TopologyMismatchError: An exchange or queue exists with other arguments.
        BrokerError: No broker answers, or it refuses for another reason.
    """
    with _channel(urls) as channel:
        _declare_exchange(channel, DEAD_LETTERS, "fanout")
        _declare_exchange(channel, EVENTS_EXCHANGE, "topic")
        _declare_exchange(channel, COMMANDS_EXCHANGE, "topic", {"alternate-exchange": DEAD_LETTERS})
        _declare_queue(channel, DEAD_LETTERS, _DEAD_LETTERS_QUEUE)
        channel.queue_bind(DEAD_LETTERS, DEAD_LETTERS, "")
        for exchange in _EXCHANGES_BY_QUEUE_NAME:
            _declare_exchange(channel, exchange, "direct")
        for queue, arguments in _COMMAND_QUEUES.items():
            _declare_queue(channel, queue, arguments)
            channel.queue_bind(queue, REDRIVING_EXCHANGE, queue)
            channel.queue_bind(queue, RETRYING_EXCHANGE, queue)
            for delay in retry_delays:
                name = retry_queue(queue, delay)
                _declare_queue(channel, name, _retry_arguments(queue, delay))
                channel.queue_bind(name, RETRYING_EXCHANGE, name)
        for command in COMMANDS.values():
            channel.queue_bind(command.QUEUE, COMMANDS_EXCHANGE, command.ROUTING_KEY)
    log.info("topology_declared", retry_delays=list(retry_delays))


def outdated_queues(urls: Sequence[str], retry_delays: Sequence[int]) -> dict[str, int]:
    """Return the retry queues of version 0.1.0 that still exist, with the number of messages in each.

    Nothing is published to them any more. Their messages go back to the command queues by themselves.

    Raises:
        BrokerError: No broker answers, or it refuses for another reason.
    """
    found = {}
    for queue in _COMMAND_QUEUES:
        for delay in retry_delays:
            name = old_retry_queue(queue, delay)
            # One channel for each queue: the broker closes the channel if the queue does not exist.
            try:
                with _channel(urls) as channel, _explained("queue", name):
                    found[name] = int(channel.queue_declare(name, passive=True).method.message_count)
            except TopologyMissingError:
                continue
    return found


def declare_read_model(urls: Sequence[str]) -> None:
    """Declare the queue of the read model and bind it to all events; safe to repeat.

    `declare` leaves it out: without a read model, nothing would consume from it, and it would fill up.

    Raises:
        TopologyMissingError: The events exchange does not exist.
        TopologyMismatchError: The queue exists with other arguments.
        BrokerError: No broker answers, or it refuses for another reason.
    """
    with _channel(urls) as channel:
        with _explained("exchange", EVENTS_EXCHANGE):
            channel.exchange_declare(EVENTS_EXCHANGE, passive=True)
        # A single active consumer: several would each miss the events that the others have taken.
        _declare_queue(channel, READ_MODEL_QUEUE, _COMMAND_QUEUE | {"x-single-active-consumer": True})
        # All types, since a later version may add some. The bindings of an older version stay and do no harm.
        channel.queue_bind(READ_MODEL_QUEUE, EVENTS_EXCHANGE, "#")


def bind_for_replay(urls: Sequence[str], queue: str) -> None:
    """Bind a subscriber's queue to the exchange for replayed events; safe to repeat.

    The binding stays: to remove it would break another replay to the same queue.

    Raises:
        NotASubscribersQueueError: The queue is for commands or dead letters.
        TopologyMissingError: The queue or the exchange does not exist.
        BrokerError: The user may not bind it, no broker answers, or it refuses for another reason.
    """
    if queue == DEAD_LETTERS or command_queue(queue):
        raise NotASubscribersQueueError(
            f"The queue {queue} is the worker's own; name the queue of the one who missed events."
        )
    with _channel(urls) as channel:
        try:
            channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code == NOT_FOUND:
                raise queue_missing(queue) from error
            if error.reply_code == ACCESS_REFUSED:  # RabbitMQ 4.3 looks at permissions here already
                raise _may_not_bind(queue) from error
            raise
        with _explained("exchange", REPLAYING_EXCHANGE):
            try:
                channel.queue_bind(queue, REPLAYING_EXCHANGE, queue)
            except ChannelClosedByBroker as error:
                if error.reply_code == ACCESS_REFUSED:
                    raise _may_not_bind(queue) from error
                raise


def _may_not_bind(queue: str) -> BrokerError:
    return BrokerError(
        f"The broker does not let this user bind the queue {queue} for a replay: it needs permission to write to the "
        f"queue, and to read from and write to the exchange {REPLAYING_EXCHANGE}."
    )


def queue_missing(queue: str) -> TopologyMissingError:
    """Return the error that tells of a missing queue."""
    return TopologyMissingError(f"There is no queue {queue} on the broker; declare it, then try again.")


def check_exchange(urls: Sequence[str], exchange: str) -> None:
    """Check that an exchange exists.

    Raises:
        TopologyMissingError: It does not exist.
        BrokerError: No broker answers, or it refuses for another reason.
    """
    with _channel(urls) as channel, _explained("exchange", exchange):
        channel.exchange_declare(exchange, passive=True)


def message_counts(urls: Sequence[str], retry_delays: Sequence[int]) -> dict[str, int]:
    """Return the number of messages in each command queue, in each retry queue and in the dead letters.

    Messages that are delivered and not yet acknowledged are not counted.

    Raises:
        TopologyMissingError: A queue does not exist.
        BrokerError: No broker answers, or it refuses for another reason.
    """
    counts = {}
    with _channel(urls) as channel:
        for queue in own_queues(retry_delays):
            with _explained("queue", queue):
                counts[queue] = channel.queue_declare(queue, passive=True).method.message_count
    return counts


def check(urls: Sequence[str], retry_delays: Sequence[int]) -> None:
    """Check that everything exists, with any arguments. Nothing is changed, and no permission is needed.

    Raises:
        TopologyMissingError: An exchange or queue does not exist.
        BrokerError: No broker answers, or it refuses for another reason.
    """
    with _channel(urls) as channel:
        for exchange in (DEAD_LETTERS, EVENTS_EXCHANGE, COMMANDS_EXCHANGE, *_EXCHANGES_BY_QUEUE_NAME):
            with _explained("exchange", exchange):
                channel.exchange_declare(exchange, passive=True)
        for queue in own_queues(retry_delays):
            with _explained("queue", queue):
                channel.queue_declare(queue, passive=True)


def own_queues(retry_delays: Sequence[int]) -> list[str]:
    """Return the names of the queues that `declare` declares."""
    retrying = [retry_queue(queue, delay) for queue in _COMMAND_QUEUES for delay in retry_delays]
    return [*_COMMAND_QUEUES, *retrying, DEAD_LETTERS]


def _retry_arguments(queue: str, delay: int) -> dict[str, Any]:
    return _QUORUM | {
        "x-delivery-limit": 20,
        "x-message-ttl": delay * 1_000,
        "x-dead-letter-exchange": RETRYING_EXCHANGE,
        "x-dead-letter-routing-key": queue,
    }


def _declare_exchange(channel: BlockingChannel, name: str, kind: str, arguments: dict[str, Any] | None = None) -> None:
    with _explained("exchange", name):
        channel.exchange_declare(name, kind, durable=True, arguments=arguments)


def _declare_queue(channel: BlockingChannel, name: str, arguments: dict[str, Any]) -> None:
    with _explained("queue", name):
        channel.queue_declare(name, durable=True, arguments=arguments)


@contextmanager
def _explained(kind: str, name: str) -> Iterator[None]:
    try:
        yield
    except ChannelClosedByBroker as error:
        explain = {NOT_FOUND: _missing, _PRECONDITION_FAILED: _mismatch}.get(error.reply_code)
        if explain is None:
            raise
        raise explain(kind, name, error.reply_text) from error


def _missing(kind: str, name: str, _text: str) -> TopologyMissingError:
    return TopologyMissingError(f"The {kind} {name} does not exist on the broker; {RUN_TOPOLOGY}")


def _mismatch(kind: str, name: str, text: str) -> TopologyMismatchError:
    delete = f"rabbitmqctl delete_queue {name}" if kind == "queue" else f"rabbitmqadmin delete exchange name={name}"
    drain = "let it run empty" if kind == "queue" else "stop what publishes to it"
    return TopologyMismatchError(
        f"The {kind} {name} exists on the broker with other arguments ({text}): {drain}, delete it (`{delete}`, with "
        "the virtual host's --vhost), and run `allocation-worker topology` again."
    )


@contextmanager
def _channel(urls: Sequence[str]) -> Iterator[BlockingChannel]:
    with connect_any(urls, "allocation-worker topology") as connection:
        try:
            yield connection.channel()
        except ChannelClosedByBroker as error:
            raise refused(error) from error
        except AMQPError as error:
            raise BrokerError(f"The broker refused: {error!r}") from error
