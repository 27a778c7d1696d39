"""A command on its way to the broker."""

import logging
from concurrent.futures import Future
from dataclasses import dataclass
from math import inf
from time import time
from uuid import uuid4

from pika.spec import BasicProperties

from allocation_contracts.amqp.logs import log_to
from allocation_contracts.commands import Command
from allocation_contracts.errors import show
from allocation_contracts.message import encode
from allocation_contracts.properties import command_properties

log = log_to(logging.getLogger(__name__))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A command with its properties, for `Publisher.publish_all`.

    Attributes:
        command: What is asked.
        message_id: The idempotency key; a new one if left out. One that follows from your data (a row's key) lets you
            publish all of it again after a failure, and nothing happens twice.
        correlation_id: Ties together the messages of one business process.
        traceparent: The W3C trace context; a broken one is left out.
        tracestate: What tracers add to it; a broken one is left out.
    """

    command: Command
    message_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


@dataclass(slots=True, eq=False)
class Waiting:
    """A message that is ready to be published, and the future that gets its result.

    Attributes:
        deadline: On the monotonic clock; when to give up.
        was_sent: Whether a broker may have it.
    """

    message_id: str
    routing_key: str
    body: bytes
    properties: BasicProperties
    future: Future[str]
    deadline: float = inf
    was_sent: bool = False


def prepared(outgoing: Outgoing, app_id: str | None) -> Waiting:
    """Make it ready.

    Raises:
        ContractError: The worker would refuse these properties.
    """
    command = outgoing.command
    message_id = str(uuid4()) if outgoing.message_id is None else outgoing.message_id
    properties = command_properties(
        command,
        message_id=message_id,
        correlation_id=outgoing.correlation_id,
        traceparent=outgoing.traceparent,
        app_id=app_id,
        timestamp=int(time()),
        tracestate=outgoing.tracestate,
    )
    if outgoing.traceparent and properties["headers"] is None:
        log(logging.DEBUG, "traceparent_dropped", message_id=message_id, traceparent=show(outgoing.traceparent))
    future = Future[str]()
    future.set_running_or_notify_cancel()  # what is on its way can't be taken back
    return Waiting(
        message_id=message_id,
        routing_key=command.ROUTING_KEY,
        body=encode(command),
        properties=BasicProperties(**properties),
        future=future,
    )
