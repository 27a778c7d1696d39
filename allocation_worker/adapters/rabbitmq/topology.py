"""Declares the exchanges, queues and bindings on the broker, and asks whether they exist."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from allocation_contracts.names import DEAD_LETTERS, EVENTS_EXCHANGE, REPLAYING_EXCHANGE
from allocation_worker.adapters.rabbitmq.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    RUN_TOPOLOGY,
    BrokerError,
    NotASubscribersQueueError,
    ReplacementUnfinishedError,
    TopologyMismatchError,
    TopologyMissingError,
    refused,
)
from allocation_worker.adapters.rabbitmq.layout import (
    COMMAND_QUEUES,
    READ_MODEL,
    Exchange,
    Layout,
    Queue,
    command_queue,
    layout,
    own_queues,
)
from allocation_worker.adapters.rabbitmq.replacing_names import MOVING_EXCHANGE, stand_in
from allocation_worker.adapters.rabbitmq.retry_queues import old_retry_queue
from allocation_worker.adapters.rabbitmq.urls import connect_any

log = structlog.get_logger()

_PRECONDITION_FAILED = 406


def declare(urls: Sequence[str], retry_delays: Sequence[int]) -> None:
    """Declare everything. What exists is left as it is, so this can be run before every release.

    Args:
        urls: AMQP addresses; the first that answers is used.
        retry_delays: The delays in seconds. Each gets a retry queue for each command queue.

    Raises:
        TopologyMismatchError: An exchange or queue exists with other arguments.
        ReplacementUnfinishedError: A queue is being replaced.
        BrokerError: No broker answers, or it refuses for another reason.
    """
    wanted = layout(retry_delays)
    _refuse_while_replacing(urls, wanted)
    with topology_channel(urls) as channel:
        _declare(channel, wanted)
    log.info("topology_declared", retry_delays=list(retry_delays))


def outdated_queues(urls: Sequence[str], retry_delays: Sequence[int]) -> dict[str, int]:
    """Return the retry queues of version 0.1.0 that still exist, with the number of messages in each.

    Nothing is published to them any more. Their messages go back to the command queues by themselves.

    Raises:
        BrokerError: No broker answers, or it refuses for another reason.
    """
    found = {}
    for queue in COMMAND_QUEUES:
        for delay in retry_delays:
            name = old_retry_queue(queue, delay)
            # One channel for each queue: the broker closes the channel if the queue does not exist.
            try:
                with topology_channel(urls) as channel, explained("queue", name):
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
        ReplacementUnfinishedError: The queue is being replaced.
        BrokerError: No broker answers, or it refuses for another reason.
    """
    _refuse_while_replacing(urls, READ_MODEL)
    check_exchange(urls, EVENTS_EXCHANGE)
    with topology_channel(urls) as channel:
        _declare(channel, READ_MODEL)


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
    with topology_channel(urls) as channel:
        try:
            channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code == NOT_FOUND:
                raise queue_missing(queue) from error
            if error.reply_code == ACCESS_REFUSED:  # RabbitMQ 4.3 looks at permissions here already
                raise _may_not_bind(queue) from error
            raise
        with explained("exchange", REPLAYING_EXCHANGE):
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
    with topology_channel(urls) as channel, explained("exchange", exchange):
        channel.exchange_declare(exchange, passive=True)


def message_counts(urls: Sequence[str], retry_delays: Sequence[int]) -> dict[str, int]:
    """Return the number of messages in each command queue, in each retry queue and in the dead letters.

    Messages that are delivered and not yet acknowledged are not counted.

    Raises:
        TopologyMissingError: A queue does not exist.
        BrokerError: No broker answers, or it refuses for another reason.
    """
    counts = {}
    with topology_channel(urls) as channel:
        for queue in own_queues(retry_delays):
            with explained("queue", queue):
                counts[queue] = channel.queue_declare(queue, passive=True).method.message_count
    return counts


def exchange_exists(urls: Sequence[str], name: str) -> bool:
    """Return whether an exchange of this name exists; False where this user may not see it, as on RabbitMQ 4.3.

    Raises:
        BrokerError: No broker answers, or it refuses.
    """
    with topology_channel(urls) as channel:
        try:
            channel.exchange_declare(name, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code in {NOT_FOUND, ACCESS_REFUSED}:
                return False
            raise
    return True


def declare_exchange(channel: BlockingChannel, exchange: Exchange) -> None:
    """Declare an exchange.

    Raises:
        TopologyMismatchError: It exists with another type or other arguments.
    """
    with explained("exchange", exchange.name):
        channel.exchange_declare(exchange.name, exchange.kind, durable=True, arguments=dict(exchange.arguments) or None)


def declare_queue(channel: BlockingChannel, queue: Queue) -> None:
    """Declare a queue.

    Raises:
        TopologyMismatchError: It exists with other arguments.
    """
    with explained("queue", queue.name):
        channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))


def _declare(channel: BlockingChannel, wanted: Layout) -> None:
    for exchange in wanted.exchanges:
        declare_exchange(channel, exchange)
    for queue in wanted.queues:
        declare_queue(channel, queue)
    for binding in wanted.bindings:
        channel.queue_bind(binding.destination, binding.source, binding.routing_key)


def _refuse_while_replacing(urls: Sequence[str], wanted: Layout) -> None:
    """Refuse to declare a queue that is being replaced: what is bound to it now would arrive twice."""
    if not exchange_exists(urls, MOVING_EXCHANGE):
        return
    for queue in wanted.queues:
        if exchange_exists(urls, stand_in(queue.name)):
            raise unfinished(queue.name)


def unfinished(queue: str) -> ReplacementUnfinishedError:
    """Return the error that tells of a queue whose replacement has not ended."""
    return ReplacementUnfinishedError(
        f"The queue {queue} is being replaced, or its replacement was interrupted: `allocation-worker topology "
        f"--replace {queue}` goes on with it."
    )


@contextmanager
def explained(kind: str, name: str) -> Iterator[None]:
    """Raise what the broker says of an exchange or a queue as an error of ours."""
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
    if kind == "queue":
        return TopologyMismatchError(
            f"The queue {name} exists on the broker with other arguments ({text}): run `allocation-worker topology "
            f"--replace {name}`, which moves it with its messages to a queue that has the right ones."
        )
    return TopologyMismatchError(
        f"The exchange {name} exists on the broker with another type or other arguments ({text}): stop what publishes "
        f"to it, delete it (`rabbitmqadmin delete exchange name={name}`, with the virtual host's --vhost), and run "
        "`allocation-worker topology` again. Other programs must declare it passively, or not at all."
    )


@contextmanager
def topology_channel(urls: Sequence[str]) -> Iterator[BlockingChannel]:
    """Yield a channel, and raise what the broker refuses as a BrokerError."""
    with connect_any(urls, "allocation-worker topology") as connection:
        try:
            yield connection.channel()
        except ChannelClosedByBroker as error:
            raise refused(error) from error
        except AMQPError as error:
            raise BrokerError(f"The broker refused: {error!r}") from error
