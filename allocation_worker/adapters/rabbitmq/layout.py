"""What the worker needs on the broker: its exchanges, queues and bindings.

The exchanges and queues are those of the wire contract, and one retry queue for each command queue and each delay. A
message expires in a retry queue after the delay and goes back to its command queue. A retry queue has one delay only,
since a message expires only at the head of its queue. Retrying, redriving, replaying and parking have an exchange each.
So nobody needs permission to write to the default exchange, which leads to every queue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
from allocation_worker.adapters.rabbitmq.retry_queues import is_retry_queue, retry_queue

SINGLE_ACTIVE_CONSUMER = "x-single-active-consumer"

QUORUM: Mapping[str, Any] = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-dead-letter-strategy": "at-least-once",
}

_COMMAND_QUEUE = {**QUORUM, "x-delivery-limit": 20, "x-dead-letter-exchange": DEAD_LETTERS}

COMMAND_QUEUES: Mapping[str, Mapping[str, Any]] = {
    ORDERS_QUEUE: _COMMAND_QUEUE,
    # Two changes of one batch are to be applied in the order in which they were sent.
    STOCK_QUEUE: {**_COMMAND_QUEUE, SINGLE_ACTIVE_CONSUMER: True},
}

# A dead letter has nowhere else to go.
_DEAD_LETTERS_QUEUE = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-delivery-limit": NO_DELIVERY_LIMIT}

_BY_QUEUE_NAME = (RETRYING_EXCHANGE, REDRIVING_EXCHANGE, REPLAYING_EXCHANGE, PARKING_EXCHANGE)

READ_MODEL_QUEUE = "allocation.read-model"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def ordered(self) -> bool:
        """Whether its messages are to be consumed in the order in which they came."""
        return bool(self.arguments.get(SINGLE_ACTIVE_CONSUMER))


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding of an exchange, the source, to a queue or an exchange, the destination."""

    source: str
    destination: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Exchanges, queues and bindings, in the order in which they are declared."""

    exchanges: Sequence[Exchange]
    queues: Sequence[Queue]
    bindings: Sequence[Binding]

    def queue(self, name: str) -> Queue | None:
        """Return the queue of this name; None if it is none of these."""
        return next((queue for queue in self.queues if queue.name == name), None)

    def routes_to(self, queue: str) -> list[Binding]:
        """Return the bindings of a queue."""
        return [binding for binding in self.bindings if binding.destination == queue]


# A single active consumer: several would each miss the events that the others have taken. All types of events, since a
# later version may add some. The bindings of an older version stay and do no harm.
READ_MODEL = Layout(
    exchanges=(),
    queues=(Queue(READ_MODEL_QUEUE, {**_COMMAND_QUEUE, SINGLE_ACTIVE_CONSUMER: True}),),
    bindings=(Binding(EVENTS_EXCHANGE, READ_MODEL_QUEUE, "#"),),
)
"""What only `project` needs. Without it nothing would consume from the queue, and it would fill up."""


def layout(retry_delays: Sequence[int]) -> Layout:
    """Return what all but `project` need.

    Args:
        retry_delays: The delays in seconds. Each gets a retry queue for each command queue.
    """
    exchanges = (
        Exchange(DEAD_LETTERS, "fanout"),
        Exchange(EVENTS_EXCHANGE, "topic"),
        Exchange(COMMANDS_EXCHANGE, "topic", {"alternate-exchange": DEAD_LETTERS}),
        *(Exchange(name, "direct") for name in _BY_QUEUE_NAME),
    )
    queues = [Queue(DEAD_LETTERS, _DEAD_LETTERS_QUEUE)]
    bindings = [Binding(DEAD_LETTERS, DEAD_LETTERS, "")]
    for queue, arguments in COMMAND_QUEUES.items():
        queues.append(Queue(queue, arguments))
        bindings += [Binding(REDRIVING_EXCHANGE, queue, queue), Binding(RETRYING_EXCHANGE, queue, queue)]
        for delay in retry_delays:
            name = retry_queue(queue, delay)
            queues.append(Queue(name, _retry_arguments(queue, delay)))
            bindings.append(Binding(RETRYING_EXCHANGE, name, name))
    # Last: nothing arrives before all else stands.
    bindings += [Binding(COMMANDS_EXCHANGE, command.QUEUE, command.ROUTING_KEY) for command in COMMANDS.values()]
    return Layout(exchanges, queues, bindings)


def command_queue(name: str) -> str | None:
    """Return the command queue of this name, or the one that this retry queue belongs to; None for other names."""
    return next((own for own in COMMAND_QUEUES if name == own or is_retry_queue(name, own)), None)


def own_queues(retry_delays: Sequence[int]) -> list[str]:
    """Return the names of the queues that all but `project` need: those of commands first, the dead letters last."""
    retrying = [retry_queue(queue, delay) for queue in COMMAND_QUEUES for delay in retry_delays]
    return [*COMMAND_QUEUES, *retrying, DEAD_LETTERS]


def _retry_arguments(queue: str, delay: int) -> dict[str, Any]:
    return {
        **QUORUM,
        "x-delivery-limit": 20,
        "x-message-ttl": delay * 1_000,
        "x-dead-letter-exchange": RETRYING_EXCHANGE,
        "x-dead-letter-routing-key": queue,
    }
