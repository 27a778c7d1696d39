"""Kills the worker between two of its steps: `python -m harness.crash_points POINT NTH VERB`.

The worker has no hooks for this. This module runs its command line with one function replaced: when that function has
returned for the NTH time, the process kills itself with SIGKILL.

`... message-id ID VERB` kills the worker whenever it has read the message with this id, and starts it again each time,
as a supervisor would.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from functools import wraps
from itertools import count
from typing import Any

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.holds import PostgresDueHolds
from allocation_worker.adapters.postgres.inbox import PostgresInbox
from allocation_worker.adapters.postgres.outbox import PostgresOutbox
from allocation_worker.adapters.postgres.relay import PendingEvents
from allocation_worker.adapters.postgres.repository import PostgresProducts
from allocation_worker.adapters.postgres.unit_of_work import PostgresUnitOfWork
from allocation_worker.adapters.rabbitmq.acknowledger import Acknowledger
from allocation_worker.adapters.rabbitmq.dead_letter_queue import DeadLetterQueue
from allocation_worker.adapters.rabbitmq.deliveries import DeliveryBuffer
from allocation_worker.adapters.rabbitmq.moving import Mover
from allocation_worker.adapters.rabbitmq.publisher import RabbitMQEventPublisher
from allocation_worker.adapters.rabbitmq.replace import Replacement
from allocation_worker.adapters.rabbitmq.until_confirmed import BlockingPublisher
from allocation_worker.adapters.redis.read_model import RedisReadModel
from allocation_worker.cli import main
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage

# In the order of a message's path.
CONSUME_POINTS: Mapping[str, tuple[Any, str]] = {
    "received": (DeliveryBuffer, "take"),
    "parsed": (wire, "read"),
    "inbox-written": (PostgresInbox, "receive"),
    "loaded": (PostgresProducts, "lock_for"),
    "handled": (MessageBus, "handle"),
    "flushed": (PostgresOutbox, "flush"),
    "committed": (PostgresUnitOfWork, "commit"),
    "acked": (Acknowledger, "ack"),
}

RELAY_POINTS: Mapping[str, tuple[Any, str]] = {
    "claimed": (PendingEvents, "fetch"),
    "published": (RabbitMQEventPublisher, "publish"),
    "confirmed": (RabbitMQEventPublisher, "take_results"),
    "marked": (PendingEvents, "mark_published"),
}

# Within the transaction of a command that sees to more than a thousand lines.
PORTION_POINTS: Mapping[str, tuple[Any, str]] = {
    "portion-to-tell-read": (PostgresProducts, "lines_first_asked_first"),
    "portion-to-serve-read": (PostgresProducts, "waiting"),
}

# In the relay, which handles no other commands.
LAPSE_POINTS: Mapping[str, tuple[Any, str]] = {
    "holds-found": (PostgresDueHolds, "find"),
    "hold-ended": (MessageBus, "handle"),
    "holds-flushed": (PostgresOutbox, "flush"),
    "holds-committed": (PostgresUnitOfWork, "commit"),
}

PROJECT_POINTS: Mapping[str, tuple[Any, str]] = {
    "event-received": (DeliveryBuffer, "take"),
    "event-parsed": (wire, "read_event"),
    "event-applied": (RedisReadModel, "apply"),
    "event-acked": (Acknowledger, "ack"),
}

REBUILD_POINTS: Mapping[str, tuple[Any, str]] = {
    "begun": (RedisReadModel, "begin"),
    "history-written": (RedisReadModel, "write"),
    "lines-written": (RedisReadModel, "put_lines"),
    "stock-written": (RedisReadModel, "put_stock"),
    "switched": (RedisReadModel, "switch"),
    "old-forgotten": (RedisReadModel, "forget_old"),
}

DEAD_LETTER_POINTS: Mapping[str, tuple[Any, str]] = {
    "dead-letter-taken": (DeadLetterQueue, "take"),
    "dead-letter-copied": (BlockingPublisher, "publish"),
    "dead-letter-confirmed": (BlockingPublisher, "take_results"),
    "dead-letter-removed": (DeadLetterQueue, "remove"),
}

REPLACE_POINTS: Mapping[str, tuple[Any, str]] = {
    "replace-step": (Replacement, "did"),
    "replace-moved": (Mover, "_ack"),
}

_POINTS = {
    **CONSUME_POINTS,
    **RELAY_POINTS,
    **PORTION_POINTS,
    **LAPSE_POINTS,
    **PROJECT_POINTS,
    **REBUILD_POINTS,
    **DEAD_LETTER_POINTS,
    **REPLACE_POINTS,
}

MESSAGE_ID = "message-id"
"""The pseudo-point for a message that kills each process that reads it."""

_PR_SET_PDEATHSIG = 1


def arm(point: str, nth: int) -> None:
    """Make the NTH return from this point kill the process. A return without a result does not count."""
    owner, name = _POINTS[point]
    original = getattr(owner, name)
    returns = count(1)

    @wraps(original)
    def deadly(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - stands for any function
        result = original(*arguments, **keywords)
        if result != [] and next(returns) == nth:
            _die()
        return result

    setattr(owner, name, deadly)


def arm_message(message_id: str) -> None:
    """Make reading the message with this id kill the process."""
    read = wire.read_queued

    @wraps(read)
    def deadly(delivery: wire.QueuedMessage) -> CommandMessage:
        if delivery.properties.message_id == message_id:
            _die()
        return read(delivery)

    setattr(wire, "read_queued", deadly)  # noqa: B010 - as the points are set


def supervise() -> None:
    """Run the command line in a child process, again after each death by a signal, and exit with its exit code."""
    while (child := os.fork()) != 0:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code >= 0:
            os._exit(code)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    main()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    point, argument = sys.argv[1:3]
    sys.argv = ["allocation-worker", *sys.argv[3:]]
    if point == MESSAGE_ID:
        arm_message(argument)
        supervise()
    else:
        arm(point, int(argument))
        main()
