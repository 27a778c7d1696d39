"""Looks at the worker's queues: how many messages wait in each, and how many consumers it has."""

from collections.abc import Sequence

from pika import BlockingConnection
from pika.exceptions import AMQPError, ChannelClosedByBroker

from allocation_worker.adapters.rabbitmq.errors import NOT_FOUND, BrokerError, refused
from allocation_worker.adapters.rabbitmq.layout import READ_MODEL_QUEUE, command_queue, own_queues
from allocation_worker.adapters.rabbitmq.urls import connect_any
from allocation_worker.service_layer.status import QueueKind, QueueState


def queue_states(urls: Sequence[str], retry_delays: Sequence[int]) -> list[QueueState]:
    """Return the state of each queue of the worker. The queue of the read model is among them only if it exists.

    Messages that are delivered and not yet acknowledged are not counted.

    Raises:
        BrokerError: No broker answers, or it refuses.
    """
    states = _look_at(urls, [*own_queues(retry_delays), READ_MODEL_QUEUE], "allocation-worker status")
    return [state for state in states if state.exists or state.kind != "read-model"]


def read_model_state(urls: Sequence[str]) -> QueueState:
    """Return the state of the queue of the read model. Errors are those of `queue_states`."""
    [state] = _look_at(urls, [READ_MODEL_QUEUE], "allocation-worker show")
    return state


def _look_at(urls: Sequence[str], names: Sequence[str], client: str) -> list[QueueState]:
    with connect_any(urls, client) as connection:
        try:
            return [_look(connection, name) for name in names]
        except AMQPError as error:
            raise BrokerError(f"The broker refused: {error!r}") from error


def _kind(name: str) -> QueueKind:
    if name == READ_MODEL_QUEUE:
        return "read-model"
    own = command_queue(name)
    return "dead-letters" if own is None else "commands" if own == name else "retry"


def _look(connection: BlockingConnection, name: str) -> QueueState:
    # A channel for each queue: the broker closes the channel if the queue does not exist.
    channel = connection.channel()
    try:
        found = channel.queue_declare(name, passive=True).method
    except ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise refused(error) from error
        return QueueState(name=name, kind=_kind(name), exists=False, messages=0, consumers=0)
    channel.close()
    return QueueState(
        name=name, kind=_kind(name), exists=True, messages=found.message_count, consumers=found.consumer_count
    )
