"""Publishing commands: confirmed, many at a time, and again after a lost connection."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from concurrent.futures import Future
from itertools import takewhile
from threading import BoundedSemaphore, Lock
from time import monotonic
from types import TracebackType
from typing import Self

from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from allocation_contracts.amqp.channels import ChannelLoop
from allocation_contracts.amqp.errors import PublishError, Refused, Unconfirmed, Unreachable, Unroutable
from allocation_contracts.amqp.outgoing import Outgoing, Waiting, prepared
from allocation_contracts.amqp.refusals import NACKED, PUBLISH_AGAIN, RUN_TOPOLOGY, channel_closed
from allocation_contracts.commands import Command
from allocation_contracts.names import COMMANDS_EXCHANGE

_MAX_APP_ID_BYTES = 255
_LOOK_FOR_EXPIRED = 0.2


class Publisher:
    """Publishes commands, each until the broker has confirmed that it is safe.

    What a lost connection leaves open is published again, in its order and under the same message_id, which the worker
    knows again. It has a network thread of its own, from its making until `close`; every method is thread-safe.

    Args:
        url: `amqp://` or `amqps://`; several, as a list or separated by commas, for the nodes of a cluster.
        app_id: Your program's name, in each message and in the broker's list of connections.
        timeout: How many seconds a confirm may take, reconnecting included.
        window: How many commands may wait for their confirms; `publish_soon` waits while there are as many.

    Raises:
        ValueError: `app_id` has more than 255 bytes.
    """

    def __init__(
        self, url: str | Sequence[str], *, app_id: str | None = None, timeout: float = 30.0, window: int = 1_000
    ) -> None:
        if app_id is not None and len(app_id.encode()) > _MAX_APP_ID_BYTES:
            raise ValueError(f"app_id may have {_MAX_APP_ID_BYTES} bytes, got {len(app_id.encode())}.")
        self._app_id = app_id
        self._timeout = timeout
        self._window = window
        self._free = BoundedSemaphore(window)
        self._lock = Lock()
        self._handed_over: deque[Waiting] = deque()
        self._closed = False
        # From here on: the network thread's alone.
        self._unsent: deque[Waiting] = deque()
        self._unconfirmed: dict[int, Waiting] = {}
        self._last_tag = 0
        self._channel: Channel | None = None
        name = app_id or "allocation-contracts publisher"
        self._loop = ChannelLoop(url, name=name, on_opened=self._opened, on_lost=self._lost)
        self._loop.call_later(_LOOK_FOR_EXPIRED, self._expire)
        self._loop.start()

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
    ) -> str:
        """Publish a command and wait until it is safe; give its message_id. Arguments are those of `Outgoing`.

        Raises:
            Unroutable: No queue takes it.
            Refused: The broker did not take it.
            Unreachable: No broker could be reached in time.
            Unconfirmed: No confirm came in time.
            ContractViolation: The worker would refuse these properties.
        """
        outgoing = Outgoing(
            command=command, message_id=message_id, correlation_id=correlation_id, traceparent=traceparent
        )
        return self.publish_soon(outgoing).result()

    def publish_soon(self, outgoing: Command | Outgoing) -> Future[str]:
        """Hand a command over; the future gives its message_id when it is safe, or raises what `publish` raises.

        Raises:
            ContractViolation: The worker would refuse these properties.
            RuntimeError: The publisher is closed.
        """
        waiting = prepared(outgoing if isinstance(outgoing, Outgoing) else Outgoing(command=outgoing), self._app_id)
        self._free.acquire()
        with self._lock:
            if self._closed:
                self._free.release()
                raise RuntimeError("This publisher is closed.")
            # Now, and under the lock: waiting for room took no time of the broker's, and deadlines are to be in order.
            waiting.deadline = monotonic() + self._timeout
            self._handed_over.append(waiting)
            first = len(self._handed_over) == 1
        if first:
            self._loop.call_soon(self._send)
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

        def settle(future: Future[str]) -> None:
            confirmed.append(future.result())
            if on_confirmed:
                on_confirmed(confirmed[-1])

        try:
            for outgoing in commands:
                under_way.append(self.publish_soon(outgoing))
                while under_way and under_way[0].done():
                    settle(under_way.popleft())
            while under_way:
                settle(under_way.popleft())
        except PublishError:
            futures.wait(under_way)
            for future in under_way:
                if future.exception() is None:
                    settle(future)
            raise
        return confirmed

    def close(self, *, wait: bool = True) -> None:
        """Close the connection, once all that was handed over has its answer; or at once, unless told to `wait`.

        What has no answer then raises `Unconfirmed`.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if wait:
            for _ in range(self._window):
                self._free.acquire()
            self._free.release(self._window)
        self._loop.stop()
        self._abandon()

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        self._last_tag = 0
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed)
        self._send()

    def _lost(self, reason: ChannelClosedByBroker | None) -> None:
        self._channel = None
        open_ones, self._unconfirmed = list(self._unconfirmed.values()), {}
        if reason is None:
            self._unsent.extendleft(reversed(open_ones))
            return
        for waiting in open_ones:
            self._settle(waiting, channel_closed(waiting.message_id, reason, alone=len(open_ones) == 1))

    def _send(self) -> None:
        with self._lock:
            handed_over, self._handed_over = self._handed_over, deque()
        self._unsent.extend(handed_over)
        while self._unsent and self._channel is not None and self._channel.is_open:
            waiting = self._unsent.popleft()
            self._last_tag += 1
            self._unconfirmed[self._last_tag] = waiting
            waiting.was_sent = True
            self._channel.basic_publish(
                COMMANDS_EXCHANGE, waiting.routing_key, waiting.body, waiting.properties, mandatory=True
            )

    def _confirmed(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        answer = frame.method
        tags = [answer.delivery_tag]
        if answer.multiple:  # they are in ascending order, and 0 means all so far
            last = answer.delivery_tag or self._last_tag
            tags = list(takewhile(lambda tag: tag <= last, self._unconfirmed))
        for tag in tags:
            waiting = self._unconfirmed.pop(tag, None)  # it may have been returned, or have expired
            if waiting is not None:
                nacked = isinstance(answer, Basic.Nack)
                self._settle(waiting, Refused(waiting.message_id, NACKED) if nacked else None)

    def _returned(self, _channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes) -> None:
        # A return bears no number. It comes in the order of publishing and before its own confirm.
        for tag, waiting in self._unconfirmed.items():
            if (waiting.message_id, waiting.routing_key, waiting.body) == (
                properties.message_id,
                method.routing_key,
                body,
            ):
                del self._unconfirmed[tag]
                text = f"No queue takes the routing key {method.routing_key!r}; {RUN_TOPOLOGY}"
                self._settle(waiting, Unroutable(waiting.message_id, text))
                return

    def _expire(self) -> None:
        self._loop.call_later(_LOOK_FOR_EXPIRED, self._expire)
        now = monotonic()
        # All wait equally long, so the oldest, which stand first, expire first.
        late = list(takewhile(lambda tag: self._unconfirmed[tag].deadline < now, self._unconfirmed))
        expired = [self._unconfirmed.pop(tag) for tag in late]
        while self._unsent and self._unsent[0].deadline < now:
            expired.append(self._unsent.popleft())
        for waiting in expired:
            self._settle(waiting, self._late(waiting))

    def _late(self, waiting: Waiting) -> PublishError:
        trouble = f"within {self._timeout:g} s ({self._loop.trouble})"
        if waiting.was_sent:
            return Unconfirmed(waiting.message_id, f"No confirm came {trouble}; {PUBLISH_AGAIN}")
        return Unreachable(waiting.message_id, f"No broker could be reached {trouble}; the command was not published.")

    def _abandon(self) -> None:
        for waiting in (*self._unconfirmed.values(), *self._unsent, *self._handed_over):
            self._settle(waiting, Unconfirmed(waiting.message_id, f"The publisher was closed first; {PUBLISH_AGAIN}"))

    def _settle(self, waiting: Waiting, error: PublishError | None) -> None:
        if error is None:
            waiting.future.set_result(waiting.message_id)
        else:
            waiting.future.set_exception(error)
        self._free.release()
