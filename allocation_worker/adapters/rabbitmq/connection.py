"""A network loop that keeps one connection to whichever broker of several answers."""

import logging
import random
from collections.abc import Callable, Sequence

import pika
import structlog
from pika.adapters.select_connection import IOLoop

from allocation_contracts.amqp.errors import words
from allocation_worker.adapters.rabbitmq.coalescing import CoalescingConnection
from allocation_worker.adapters.rabbitmq.urls import masked, parameters

log = structlog.get_logger()

# What matters of what pika logs is told below, in one line; for one bad header it would write hundreds.
logging.getLogger("pika").setLevel(logging.CRITICAL)

_SHORTEST_DELAY = 0.2
_LONGEST_DELAY = 5.0
_CLOSING_TIME = 5.0
_MAX_REASON = 300


class ConnectionLoop:
    """One connection at a time, opened again for as long as it takes, through every address in turn.

    All callbacks run in the thread that runs `run`. Only `call_soon` and `stop` may be called from other threads.

    Args:
        urls: AMQP addresses; the next is tried whenever one fails.
        name: What the broker and the log show the connection as.
        on_connected: Called with each connection that has opened.
        on_lost: Called when that connection is gone, for whatever reason, once.
        blocked_timeout: How many seconds an alarm of the broker may block it before it counts as lost; None: for ever.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        name: str,
        on_connected: Callable[[pika.SelectConnection], None],
        on_lost: Callable[[], None],
        blocked_timeout: float | None = None,
    ) -> None:
        self._brokers = [(masked(url), parameters(url, name, blocked_timeout=blocked_timeout)) for url in urls]
        self._name = name
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._ioloop = IOLoop()
        self._connection: pika.SelectConnection | None = None
        self._attempts = 0
        self._failures = 0
        self._ended = False
        self._log = log.bind(connection=name)

    def run(self) -> None:
        """Connect, and go on until `stop`. Nothing that a connection does or dies of ends it."""
        self._connect()
        while not self._ended:
            try:
                self._ioloop.start()
            except Exception:  # noqa: BLE001 - whatever it is, messages are waiting
                # A timer or a call of ours failed, between two frames: what state we are in is unclear, so begin again.
                # Once it has ended, that is pika stumbling over a close amid the handshake: nobody's business.
                self._log.log(logging.DEBUG if self._ended else logging.ERROR, "amqp_loop_failed", exc_info=True)
                self._begin_again()
        self._ioloop.close()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Have it called in the loop's thread; after the loop has ended it is dropped. Thread-safe."""
        self._ioloop.add_callback_threadsafe(function)

    def call_later(self, delay: float, function: Callable[[], None]) -> None:
        """Have it called after `delay` seconds. Network thread only."""
        self._ioloop.call_later(delay, function)

    def lives(self) -> None:
        """The connection has proved of use: when it is lost, the next is tried with the shortest delay."""
        self._failures = 0

    def reconnect(self) -> None:
        """Close the connection, if there is one, and open another after the back-off. Network thread only."""
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def stop(self) -> None:
        """Close the connection and let `run` return. Thread-safe."""
        self.call_soon(self._stop)

    def _connect(self) -> None:
        broker, settings = self._brokers[self._attempts % len(self._brokers)]
        self._attempts += 1
        self._log = log.bind(connection=self._name, broker=broker)
        self._connection = CoalescingConnection(
            settings,
            on_open_callback=self._opened,
            on_open_error_callback=self._not_opened,
            on_close_callback=self._closed,
            custom_ioloop=self._ioloop,
        )

    def _opened(self, connection: pika.SelectConnection) -> None:
        self._log.info("amqp_connected")
        connection.add_on_connection_blocked_callback(
            lambda _connection, frame: self._log.warning("amqp_blocked", reason=frame.method.reason)
        )
        connection.add_on_connection_unblocked_callback(lambda *_: self._log.info("amqp_unblocked"))
        self._on_connected(connection)

    def _not_opened(self, _connection: pika.SelectConnection, error: BaseException) -> None:
        if not self._ended:
            self._log.warning("amqp_connect_failed", reason=words(error))
        self._connect_again()

    def _closed(self, _connection: pika.SelectConnection, error: BaseException) -> None:
        if self._ended:
            self._log.info("amqp_closed")
        else:
            self._log.warning("amqp_lost", reason=f"{type(error).__name__}: {error}"[:_MAX_REASON])
        self._on_lost()
        self._connect_again()

    def _connect_again(self) -> None:
        self._connection = None
        if self._ended:
            self._ioloop.stop()
            return
        longest = min(_LONGEST_DELAY, _SHORTEST_DELAY * 2 ** min(self._failures, 10))
        self._failures += 1
        delay = longest * random.uniform(0.5, 1.0)  # noqa: S311 - it only spreads out the workers
        self._ioloop.call_later(delay, self._connect_if_needed)

    def _connect_if_needed(self) -> None:
        if not self._ended and self._connection is None:
            self._connect()

    def _begin_again(self) -> None:
        if self._connection is None or self._connection.is_closed:
            self._connect_again()
        self.reconnect()

    def _stop(self) -> None:
        if self._ended:
            return
        self._ended = True
        connection = self._connection
        if connection is None:
            self._ioloop.stop()
            return
        if not (connection.is_closing or connection.is_closed):
            connection.close()
        # A broker that is out of reach answers nothing.
        self._ioloop.call_later(_CLOSING_TIME, self._ioloop.stop)
