"""Publishes a steady stream of orders, and measures how long each waits for its event."""

import json
import statistics
import time
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pika
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from allocation_contracts import CAUSATION_ID_HEADER, COMMANDS_EXCHANGE
from bench.broker import SUBSCRIBER
from bench.workloads import EncodedCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds from the command's publication to the event's arrival."""

    count: int
    median: float
    p99: float
    longest: float


class FollowedEvent(NamedTuple):
    """An event that was caused by another message than the orders.

    Attributes:
        at: When it arrived.
        cause: The message_id of its cause.
        sequence: Its own.
    """

    at: float
    cause: str
    sequence: int


class OrderStream:
    """Publishes at a rate and listens, in one thread on one connection. The subscriber's queue stands.

    Args:
        url: The broker.
        orders: Published in turn, `rate` a second.
        special: Published besides, `special_after` seconds from the start; how it is answered is for the caller.
        followed: The message_ids of other messages whose events are for the caller.
    """

    def __init__(
        self,
        url: str,
        orders: Sequence[EncodedCommand],
        rate: float,
        *,
        special: EncodedCommand | None = None,
        special_after: float = 0,
        followed: Collection[str] = (),
    ) -> None:
        self._orders = orders
        self._rate = rate
        self._special = special
        self._special_after = special_after
        self._sent: dict[str, float] = {}
        self.began = 0.0
        self._done: Callable[[], bool] = lambda: False
        self._channel: Channel
        self.waited: dict[str, float] = {}
        self.special_sent = 0.0
        self._followed = {*followed, *([special.message_id] if special else [])}
        self.followed: list[FollowedEvent] = []
        """The events that the special command and the followed messages caused, as they arrived."""
        self._connection = pika.SelectConnection(
            pika.URLParameters(url),
            on_open_callback=lambda it: it.channel(on_open_callback=self._opened),
            on_close_callback=lambda it, _: it.ioloop.stop(),
        )

    def run(self, done: Callable[[], bool], within: float = 300) -> None:
        """Until `done`, or until everything that was sent is answered and no more is to be sent.

        Raises:
            ConnectionError: The broker has closed the connection.
            TimeoutError: It took longer than `within` seconds.
        """
        deadline = time.perf_counter() + within
        self._done = lambda: done() or time.perf_counter() > deadline
        self._connection.ioloop.start()
        if not self._done():
            raise ConnectionError("The connection to the broker was lost.")
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{len(self._sent) - len(self.waited)} orders have no answer after {within} s.")

    @property
    def finished(self) -> bool:
        """All is sent and answered."""
        return len(self.waited) == len(self._orders)

    def latency(
        self, since: float = 0.0, until: float = float("inf"), *, only: Container[str] | None = None
    ) -> Latency:
        """Of the orders that were sent between two moments of `time.perf_counter`; of some only, by message_id."""
        found = sorted(
            1000 * wait
            for key, wait in self.waited.items()
            if since <= self._sent[key] <= until and (only is None or key in only)
        )
        return Latency(
            count=len(found),
            median=statistics.median(found),
            p99=found[int(0.99 * (len(found) - 1))],
            longest=found[-1],
        )

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.basic_consume(SUBSCRIBER, self._received, auto_ack=True)
        self.began = time.perf_counter()
        self._send()

    def _send(self) -> None:
        elapsed = time.perf_counter() - self.began
        due = min(len(self._orders), int(elapsed * self._rate))
        for order in self._orders[len(self._sent) : due]:
            self._sent[order.message_id] = self._publish(order)
        if self._special and not self.special_sent and elapsed >= self._special_after:
            self.special_sent = self._publish(self._special)
        if self._done():
            self._connection.close()  # an open one would take the events of the next stream
        else:
            self._connection.ioloop.call_later(0.5 / self._rate, self._send)

    def _publish(self, order: EncodedCommand) -> float:
        now = time.perf_counter()
        self._channel.basic_publish(COMMANDS_EXCHANGE, order.routing_key, order.body, order.properties)
        return now

    def _received(self, _channel: Channel, _method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        now = time.perf_counter()
        cause = str((properties.headers or {})[CAUSATION_ID_HEADER])
        if cause in self._sent:
            self.waited.setdefault(cause, now - self._sent[cause])
        elif cause in self._followed:
            self.followed.append(FollowedEvent(now, cause, json.loads(body)["sequence"]))
