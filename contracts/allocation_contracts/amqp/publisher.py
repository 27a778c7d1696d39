"""Publishing commands: confirmed, many at a time, and again after a lost connection."""

import atexit
import logging
import multiprocessing.util
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from concurrent.futures import Future
from functools import cache, partial
from itertools import takewhile
from math import inf
from threading import TIMEOUT_MAX, Condition, Lock
from time import monotonic
from types import TracebackType
from typing import Final, Self
from weakref import WeakSet

import pika
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker

from allocation_contracts.amqp.confirms import ConfirmedChannel, Patience
from allocation_contracts.amqp.errors import (
    AccessRefusedError,
    PublishError,
    RefusedError,
    UnconfirmedError,
    UnreachableError,
    UnroutableError,
)
from allocation_contracts.amqp.link import Link, LinkFactory
from allocation_contracts.amqp.logs import log_to
from allocation_contracts.amqp.outgoing import Outgoing, Waiting, prepared
from allocation_contracts.amqp.refusals import NACKED, PUBLISH_AGAIN, RUN_TOPOLOGY, channel_closed
from allocation_contracts.amqp.urls import parameters, split
from allocation_contracts.commands import Command
from allocation_contracts.names import COMMANDS_EXCHANGE
from allocation_contracts.results import PublishResult

log = log_to(logging.getLogger(__name__))

_MAX_APP_ID_BYTES = 255
_LOOK_FOR_EXPIRED = 0.2
_JOIN_TIME = 10.0
# How long the end of a program waits for confirms that may take for ever.
_LONGEST_EXIT = 30.0
_IDS_TO_NAME = 20


_open_publishers: "WeakSet[Publisher]" = WeakSet()


class Publisher:
    """Publishes commands, each until the broker has confirmed that it is safe.

    What a lost connection leaves open is published again, in its order and under the same message_id, which the worker
    knows again. It has a network thread of its own, from its making until `close`; every method is thread-safe.

    Close it, or use `with`. A program that ends without `close` still waits for the confirms, at most for `timeout`,
    and logs what was not confirmed; but one that `os._exit` or a signal without a handler ends does not. A forked child
    must make a publisher of its own: `publish`, `publish_soon` and `publish_all` raise there.

    Args:
        url: `amqp://` or `amqps://`; several, as a list or separated by commas, for the nodes of a cluster.
        app_id: Your program's name, in each message and in the broker's list of connections.
        timeout: How many seconds a confirm may take, reconnecting included.
        window: How many commands may wait for their confirms; `publish_soon` waits while there are as many.
        link: Makes the connection; for tests.
        clock: Seconds that only ever grow; for tests.

    Raises:
        ValueError: `app_id` has more than 255 bytes, or an address cannot be read.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        app_id: str | None = None,
        timeout: float = 30.0,
        window: int = 1_000,
        link: LinkFactory = Link,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if app_id is not None and len(app_id.encode()) > _MAX_APP_ID_BYTES:
            raise ValueError(f"app_id may have {_MAX_APP_ID_BYTES} bytes, got {len(app_id.encode())}.")
        self._app_id = app_id
        self._timeout = timeout
        self._window = window
        self._lock = Lock()
        self._answers = Condition(self._lock)
        # KeyboardInterrupt may come between any two steps of a caller's thread, and would lose a permit. So what was
        # handed over is kept, and counts.
        self._handed_over: deque[Waiting] = deque()
        self._open: set[Waiting] = set()
        self._ended = False
        self._closing = Lock()
        self._closed = False
        self._process: Final = os.getpid()
        self._failed_at_exit: list[str] | None = None
        self._clock = clock
        # From here on: used by the network thread only.
        self._unsent: deque[Waiting] = deque()
        self._unanswered: dict[Waiting, None] = {}
        self._lost: list[Waiting] = []
        self._confirms: ConfirmedChannel | None = None
        self._patience = Patience()
        name = app_id or "allocation-contracts publisher"
        urls = split(url)
        for each in urls:
            parameters(each, name)  # what cannot be read is told now
        self._link = link(urls, name=name, on_connected=self._connected, on_lost=self._disconnected)
        self._link.call_later(_LOOK_FOR_EXPIRED, self._expire)
        self._link.start()
        _open_publishers.add(self)
        if multiprocessing.parent_process() is not None:
            _close_publishers_when_child_ends(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(wait=kind is None)

    def publish(
        self,
        command: Command,
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> str:
        """Publish a command and wait until it is safe; give its message_id. Arguments are those of `Outgoing`.

        Raises:
            UnroutableError: No queue takes it.
            RefusedError: The broker did not take it.
            UnreachableError: No broker could be reached in time.
            AccessRefusedError: The broker refuses the login, the virtual host or a certificate; told at once.
            UnconfirmedError: No confirm came in time.
            ContractError: The worker would refuse these properties.
        """
        outgoing = Outgoing(
            command=command,
            message_id=message_id,
            correlation_id=correlation_id,
            traceparent=traceparent,
            tracestate=tracestate,
        )
        return self.publish_soon(outgoing).result()

    def publish_soon(self, outgoing: Command | Outgoing) -> Future[str]:
        """Hand a command over; the future gives its message_id when it is safe, or raises what `publish` raises.

        Raises:
            ContractError: The worker would refuse these properties.
            RuntimeError: The publisher is closed, or was made before a fork.
        """
        if os.getpid() != self._process:
            raise RuntimeError(
                "This publisher was made in another process, before a fork, and its connection is not shared: make a "
                "Publisher in each process, after the fork."
            )
        waiting = prepared(outgoing if isinstance(outgoing, Outgoing) else Outgoing(command=outgoing), self._app_id)
        with self._answers:
            while len(self._open) >= self._window and not self._ended:
                self._answers.wait()
            if self._ended:
                raise RuntimeError("This publisher is closed.")
            # Now, and under the lock: waiting for room took no time of the broker's, and deadlines are to be in order.
            waiting.deadline = self._clock() + self._timeout
            self._handed_over.append(waiting)
            self._open.add(waiting)
            first = len(self._handed_over) == 1
        if first:
            self._link.call_soon(self._send)
        return waiting.future

    def publish_all(
        self, commands: Iterable[Command | Outgoing], *, on_confirmed: Callable[[str], None] | None = None
    ) -> list[str]:
        """Publish many, with up to `window` waiting for their confirms, and wait until all are safe.

        Args:
            commands: Taken one by one, as there is room.
            on_confirmed: Called in this thread with the message_id of each that is safe, in their order.

        Returns:
            Their message_ids, in their order.

        Raises:
            PublishError: As `publish`, for the first that failed, once all that were under way have their answer.
                None is taken from `commands` after that.
        """
        under_way: deque[Future[str]] = deque()
        confirmed: list[str] = []

        def take(future: Future[str]) -> None:
            confirmed.append(future.result())
            if on_confirmed:
                on_confirmed(confirmed[-1])

        try:
            for outgoing in commands:
                under_way.append(self.publish_soon(outgoing))
                while under_way and under_way[0].done():
                    take(under_way.popleft())
            while under_way:
                take(under_way.popleft())
        except PublishError:
            futures.wait(under_way)
            for future in under_way:
                if future.exception() is None:
                    take(future)
            raise
        return confirmed

    def close(self, *, wait: bool = True) -> None:
        """Close the connection, once all that was handed over has its answer; or at once, unless told to `wait`.

        What has no answer then raises `UnconfirmedError`. It does nothing in a forked child.
        """
        self._close(inf if wait else 0)

    def _close_at_exit(self) -> None:
        """Close, and log what was not confirmed. Called when the program ends without `close`."""
        self._failed_at_exit = []
        self._close(self._timeout if self._timeout < inf else _LONGEST_EXIT)
        if failed := self._failed_at_exit:
            log(
                logging.ERROR,
                "commands_not_confirmed",
                commands=len(failed),
                message_ids=", ".join(failed[:_IDS_TO_NAME]) + (", ..." if len(failed) > _IDS_TO_NAME else ""),
                detail="The program ended before their confirms. Close the publisher before it ends, and publish them "
                "again with the same message_id.",
            )

    def _close(self, patience: float) -> None:
        if os.getpid() != self._process:
            return
        with self._answers:
            self._ended = True
            self._answers.notify_all()
        self._wait_for_answers(patience)
        with self._closing:
            if not self._closed:
                self._link.stop()
                self._link.join(_JOIN_TIME)
                self._abandon()
                self._closed = True

    def _wait_for_answers(self, patience: float) -> None:
        deadline = self._clock() + patience
        with self._answers:
            while self._open and (left := deadline - self._clock()) > 0:
                self._answers.wait(min(left, TIMEOUT_MAX))

    def _connected(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        self._confirms = ConfirmedChannel(
            channel, link=self._link, patience=self._patience, log=log, on_closed=self._channel_closed
        )
        self._link.mark_healthy()
        self._send()

    def _channel_closed(self, reason: Exception) -> None:
        self._disconnected()
        lost, self._lost = self._lost, []
        if isinstance(reason, ChannelClosedByBroker):
            for waiting in lost:
                self._finish(waiting, channel_closed(waiting.message_id, reason, alone=len(lost) == 1))
        else:
            self._unsent.extendleft(reversed(lost))
        self._link.reconnect()

    def _disconnected(self) -> None:
        self._confirms = None

    def _send(self) -> None:
        with self._lock:
            handed_over, self._handed_over = self._handed_over, deque()
        self._unsent.extend(handed_over)
        while self._unsent and self._confirms is not None and self._confirms.is_open:
            waiting = self._unsent.popleft()
            self._unanswered[waiting] = None
            waiting.was_sent = True
            self._confirms.publish(
                COMMANDS_EXCHANGE,
                waiting.routing_key,
                waiting.body,
                waiting.properties,
                partial(self._answered, waiting),
            )

    def _answered(self, waiting: Waiting, result: PublishResult) -> None:
        if waiting not in self._unanswered:
            return  # it has expired
        del self._unanswered[waiting]
        match result:
            case PublishResult.CONFIRMED:
                self._finish(waiting, None)
            case PublishResult.RETURNED:
                text = f"No queue takes the routing key {waiting.routing_key!r}; {RUN_TOPOLOGY}"
                self._finish(waiting, UnroutableError(waiting.message_id, text))
            case PublishResult.NACKED:
                self._finish(waiting, RefusedError(waiting.message_id, NACKED))
            case PublishResult.LOST:
                self._lost.append(waiting)

    def _expire(self) -> None:
        self._link.call_later(_LOOK_FOR_EXPIRED, self._expire)
        self._send()  # what was handed over by a thread that was interrupted before it said so
        now = self._clock()
        # All wait equally long, so the oldest, which stand first, expire first.
        expired = list(takewhile(lambda waiting: waiting.deadline < now, self._unanswered))
        for waiting in expired:
            del self._unanswered[waiting]
        while self._unsent and (self._link.refusal or self._unsent[0].deadline < now):
            expired.append(self._unsent.popleft())
        for waiting in expired:
            self._finish(waiting, self._late(waiting))

    def _late(self, waiting: Waiting) -> PublishError:
        if refusal := self._link.refusal:
            text = f"The broker refuses access: {refusal}"
            if waiting.was_sent:
                return UnconfirmedError(waiting.message_id, f"{text}; {PUBLISH_AGAIN}")
            return AccessRefusedError(waiting.message_id, f"{text}; the command was not published.")
        trouble = f"within {self._timeout:g} s ({self._link.trouble})"
        if waiting.was_sent:
            return UnconfirmedError(waiting.message_id, f"No confirm came {trouble}; {PUBLISH_AGAIN}")
        return UnreachableError(
            waiting.message_id, f"No broker could be reached {trouble}; the command was not published."
        )

    def _abandon(self) -> None:
        for waiting in (*self._lost, *self._unanswered, *self._unsent, *self._handed_over):
            if not waiting.future.done():  # by a `close` that was interrupted
                text = f"The publisher was closed first; {PUBLISH_AGAIN}"
                self._finish(waiting, UnconfirmedError(waiting.message_id, text))

    def _finish(self, waiting: Waiting, error: PublishError | None) -> None:
        if error is None:
            waiting.future.set_result(waiting.message_id)
        else:
            waiting.future.set_exception(error)
            if self._failed_at_exit is not None:
                self._failed_at_exit.append(waiting.message_id)
        with self._answers:
            self._open.discard(waiting)
            self._answers.notify_all()


@atexit.register
def _close_publishers() -> None:
    for publisher in list(_open_publishers):
        publisher._close_at_exit()  # noqa: SLF001 - it is the same module


@cache
def _close_publishers_when_child_ends(_process: int) -> None:
    """Close them at the end of a child of `multiprocessing`, which calls no `atexit` function. Once a process."""
    multiprocessing.util.Finalize(None, _close_publishers, exitpriority=0)
