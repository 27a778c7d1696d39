"""Looks at the worker's queues: how many messages wait in each, and how many consumers it has."""

from collections.abc import Sequence
from contextlib import ExitStack

from pika import BlockingConnection
from pika.exceptions import AMQPError, ChannelClosedByBroker

from allocation_worker.adapters.rabbitmq.errors import CONNECTION_ERRORS, NOT_FOUND, BrokerError, refused
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


class QueueWatch:
    """Looks at the queues now and then, over one connection. To be used in one thread.

    Args:
        urls: AMQP addresses.
        retry_delays: The delays of the retry queues, in seconds.
    """

    def __init__(self, urls: Sequence[str], retry_delays: Sequence[int]) -> None:
        self._urls = urls
        self._names = [*own_queues(retry_delays), READ_MODEL_QUEUE]
        self._open = ExitStack()
        self._connection: BlockingConnection | None = None

    def read(self) -> list[QueueState]:
        """Return the state of each queue.

        Raises:
            BrokerError: No broker answers, or it refuses.
        """
        if self._connection is not None:
            try:
                return self._look_at_all(self._connection)
            except CONNECTION_ERRORS:  # it may have ended long ago
                self.close()
        try:
            self._connection = self._open.enter_context(connect_any(self._urls, "allocation-worker metrics"))
            return self._look_at_all(self._connection)
        except CONNECTION_ERRORS as error:
            self.close()
            raise BrokerError(f"The broker does not tell the state of the queues: {error!r}") from error

    def _look_at_all(self, connection: BlockingConnection) -> list[QueueState]:
        return [_look(connection, name) for name in self._names]

    def close(self) -> None:
        """Close the connection; the next reading opens another."""
        self._connection = None
        try:
            self._open.close()
        except CONNECTION_ERRORS:
            return  # it is lost


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
