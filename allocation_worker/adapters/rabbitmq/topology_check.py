"""Compares what stands on the broker with what the worker needs, and changes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pika import BlockingConnection
from pika.exceptions import AMQPError, ChannelClosedByBroker

from allocation_worker.adapters.rabbitmq.errors import (
    ACCESS_REFUSED,
    BrokerError,
    TopologyMismatchError,
    TopologyMissingError,
    refused,
)
from allocation_worker.adapters.rabbitmq.layout import READ_MODEL, Exchange, Layout, Queue, layout
from allocation_worker.adapters.rabbitmq.management import Management
from allocation_worker.adapters.rabbitmq.policies import house_policies
from allocation_worker.adapters.rabbitmq.replacing_names import MOVING_EXCHANGE, stand_in
from allocation_worker.adapters.rabbitmq.topology import declare_exchange, declare_queue, explained, unfinished
from allocation_worker.adapters.rabbitmq.urls import connect_any
from allocation_worker.service_layer.status import Finding

NOT_SEEN_BY_AMQP = (
    "Bindings and policies cannot be seen over AMQP: set ALLOCATION_MANAGEMENT_URL, or look with `rabbitmqctl "
    "list_bindings` and `rabbitmqctl list_policies`."
)


@dataclass(frozen=True, slots=True)
class TopologyReport:
    """What is wrong, and what could not be seen, each in sentences."""

    findings: Sequence[Finding]
    unseen: Sequence[str]


def check(urls: Sequence[str], retry_delays: Sequence[int], management: Management | None = None) -> TopologyReport:
    """Return what is wrong with exchanges, queues and arguments; by the management API, bindings and policies too.

    AMQP shows arguments by a declaration with those that are needed: the broker refuses it and names one that differs.
    It changes nothing where the queue exists, and needs the permission to declare it. The queue of the read model is
    looked at if it exists.

    Args:
        urls: AMQP addresses; the first that answers is used.
        retry_delays: The delays in seconds of the retry queues.
        management: The management API, if there is one.

    Raises:
        BrokerError: No broker answers, or it or the management API refuses.
    """
    wanted = layout(retry_delays)
    with connect_any(urls, "allocation-worker topology") as connection:
        try:
            look = _Look(connection)
            findings = [*look.exchanges(wanted), *look.queues(wanted.queues)]
            if look.exists(READ_MODEL.queues[0]):
                wanted = Layout(
                    wanted.exchanges, [*wanted.queues, *READ_MODEL.queues], [*wanted.bindings, *READ_MODEL.bindings]
                )
                findings += look.queues(READ_MODEL.queues)
            replaced = [queue.name for queue in wanted.queues if look.being_replaced(queue.name)]
        except AMQPError as error:
            raise BrokerError(f"The broker refused: {error!r}") from error
    findings += [Finding(kind="replacement-unfinished", sentence=str(unfinished(name))) for name in replaced]
    unseen = look.unseen
    if management is None:
        unseen.append(NOT_SEEN_BY_AMQP)
    else:
        findings += _bindings(wanted, management, [*replaced, *look.missing])
        findings += policy_findings([queue.name for queue in wanted.queues], management)
    return TopologyReport(findings, unseen)


def policy_findings(queues: Sequence[str], management: Management) -> Iterator[Finding]:
    """Yield the policies that do harm to these queues.

    Raises:
        ManagementError: The management API cannot be used.
    """
    for found in house_policies(management.policies(), queues):
        yield Finding(kind="house-policy", sentence=str(found))


def _bindings(wanted: Layout, management: Management, skipped: Sequence[str]) -> Iterator[Finding]:
    found = management.bindings()
    for binding in wanted.bindings:
        if binding not in found and binding.destination not in skipped:
            yield Finding(
                kind="binding-missing",
                sentence=f"The queue {binding.destination} is not bound to the exchange {binding.source} with the key "
                f"{binding.routing_key!r}; run `allocation-worker topology`.",
            )


class _Look:
    """Looks over one connection, with a channel for each question: the broker closes it where the answer is no."""

    def __init__(self, connection: BlockingConnection) -> None:
        self._connection = connection
        self._replacing: bool | None = None
        self.missing: list[str] = []
        self.unseen: list[str] = []

    def exchanges(self, wanted: Layout) -> Iterator[Finding]:
        for exchange in wanted.exchanges:
            yield from self._look(exchange)

    def queues(self, queues: Sequence[Queue]) -> Iterator[Finding]:
        for queue in queues:
            yield from self._look(queue)

    def exists(self, wanted: Exchange | Queue) -> bool:
        try:
            self._ask(wanted, passive=True)
        except TopologyMissingError:
            return False
        except ChannelClosedByBroker as error:
            if error.reply_code != ACCESS_REFUSED:  # RabbitMQ 4.3 shows nobody what is not theirs
                raise
            return False
        return True

    def being_replaced(self, queue: str) -> bool:
        if self._replacing is None:
            self._replacing = self.exists(Exchange(MOVING_EXCHANGE, "fanout"))
        return self._replacing and self.exists(Exchange(stand_in(queue), "fanout"))

    def _look(self, wanted: Exchange | Queue) -> Iterator[Finding]:
        try:
            self._ask(wanted, passive=True)
            self._ask(wanted, passive=False)
        except TopologyMissingError as error:
            self.missing.append(wanted.name)
            yield Finding(kind="missing", sentence=str(error))
        except TopologyMismatchError as error:
            yield Finding(kind="other-arguments", sentence=str(error))
        except ChannelClosedByBroker as error:
            if error.reply_code != ACCESS_REFUSED:
                raise refused(error) from error
            self.unseen.append(
                f"The arguments of {wanted.name} cannot be seen: this user may not declare it; {error.reply_text}."
            )

    def _ask(self, wanted: Exchange | Queue, *, passive: bool) -> None:
        channel = self._connection.channel()
        kind = "queue" if isinstance(wanted, Queue) else "exchange"
        with explained(kind, wanted.name):
            if not passive:
                declare_queue(channel, wanted) if isinstance(wanted, Queue) else declare_exchange(channel, wanted)
            elif isinstance(wanted, Queue):
                channel.queue_declare(wanted.name, passive=True)
            else:
                channel.exchange_declare(wanted.name, passive=True)
        channel.close()
