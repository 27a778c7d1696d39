"""A connection to whichever of several brokers answers, with its thread, opened again whenever it is lost."""

import logging
import random
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, Protocol

import pika
from pika.adapters.select_connection import IOLoop

from allocation_contracts.amqp import urls as addresses
from allocation_contracts.amqp.errors import access_refusal, words
from allocation_contracts.amqp.logs import Log, log_to
from allocation_contracts.amqp.pika_internals import CoalescingConnection, abort

_SHORTEST_DELAY = 0.2
_LONGEST_DELAY = 5.0
_CLOSING_TIME = 5.0
_MAX_REASON = 300
_NO_ANSWER = "the broker has not answered"


class MakeParameters(Protocol):
    """Makes the parameters to connect with. It is called at each connect, so that renewed files are read again."""

    def __call__(self, url: str, name: str, *, blocked_timeout: float | None) -> pika.connection.Parameters: ...


class NetworkLink(Protocol):
    """What publishers and consumers use of a `Link`, for tests that have no network."""

    trouble: str
    refusal: str | None
    blocked: bool
    blockings: int

    def start(self) -> None: ...
    def run(self) -> None: ...
    def join(self, timeout: float) -> None: ...
    def call_soon(self, function: Callable[[], None]) -> None: ...
    def call_later(self, delay: float, function: Callable[[], None]) -> None: ...
    def mark_healthy(self) -> None: ...
    def reconnect(self) -> None: ...
    def stop(self) -> None: ...


class LinkFactory(Protocol):
    """Makes a link. `Link` is one, and so is `partial(Link, ...)`."""

    def __call__(
        self,
        urls: Sequence[str],
        *,
        name: str,
        on_connected: Callable[[Any], None],
        on_lost: Callable[[], None],
        blocked_timeout: float | None = None,
    ) -> NetworkLink: ...


class Link:
    """Keeps one connection open, trying every address in turn, for as long as it takes.

    All callbacks run in the network thread: the one that runs `run`, or the one that `start` starts. Only `start`,
    `call_soon`, `stop` and `join` may be called from other threads.

    Args:
        urls: AMQP addresses; the next is tried whenever one fails. They are read anew at each connect.
        name: How the broker and the log show the connection.
        on_connected: Called with each connection that has opened.
        on_lost: Called once when that connection is gone, for whatever reason.
        blocked_timeout: For how many seconds an alarm of the broker may block the connection before it counts as lost;
            None: without a limit.
        connection_class: What reads and writes the frames.
        parameters: Makes the parameters to connect with.
        log: Where to log.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        name: str,
        on_connected: Callable[[pika.SelectConnection], None],
        on_lost: Callable[[], None],
        blocked_timeout: float | None = None,
        connection_class: type[pika.SelectConnection] = CoalescingConnection,
        parameters: MakeParameters = addresses.parameters,
        log: Log = log_to(logging.getLogger(__name__)),  # noqa: B008 - it keeps no state
    ) -> None:
        self._urls = urls
        self._nodes = 1
        self._name = name
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._blocked_timeout = blocked_timeout
        self._connection_class = connection_class
        self._parameters = parameters
        self._write_log = log
        self._ioloop = IOLoop()
        self._thread = Thread(target=self.run, name=name, daemon=True)
        self._connection: pika.SelectConnection | None = None
        self._broker = ""
        self._attempts = 0
        self._failures = 0
        self._ended = False
        self.trouble = "no broker has answered yet"
        """Why there is no connection, or why nothing is answered on it; for people."""
        self.blocked = False
        """Whether an alarm keeps the broker from taking messages."""
        self.blockings = 0
        """How often an alarm has done so."""
        self._refusals = 0
        self.refusal: str | None = None
        """Why no broker can be used until somebody changes something; None where waiting may help."""

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until the thread that `start` started has ended, or for `timeout` seconds."""
        self._thread.join(timeout)

    def run(self) -> None:
        """Connect, and work until `stop`. An error of a connection or of a callback leads to a new connection."""
        self._connect()
        while not self._ended:
            try:
                self._ioloop.start()
            except Exception:  # noqa: BLE001 - whatever it is, messages are waiting
                # A timer or a callback failed between two frames. The state is unclear, so begin again.
                # After `stop`, it is pika failing over a close amid the handshake; that concerns nobody.
                self._log(logging.DEBUG if self._ended else logging.ERROR, "amqp_loop_failed", exc_info=True)
                self._begin_again()
        self._ioloop.close()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Have `function` called in the network thread. After the end it is dropped. Thread-safe."""
        self._ioloop.add_callback_threadsafe(function)

    def call_later(self, delay: float, function: Callable[[], None]) -> None:
        """Have `function` called after `delay` seconds. Network thread only."""
        self._ioloop.call_later(delay, function)

    def mark_healthy(self) -> None:
        """Record that the connection is of use: after its loss the next is tried after the shortest delay."""
        self._failures = 0

    def reconnect(self) -> None:
        """Close the connection, if there is one, and open another after a delay. Network thread only."""
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def stop(self) -> None:
        """Close the connection and let `run` return. Thread-safe."""
        self.call_soon(self._stop)

    def _log(self, level: int, event: str, **fields: Any) -> None:  # noqa: ANN401 - the fields of a log line
        self._write_log(level, event, connection=self._name, broker=self._broker, **fields)

    def _connect(self) -> None:
        urls = tuple(self._urls)
        self._nodes = len(urls)
        url = urls[self._attempts % len(urls)]
        self._attempts += 1
        self._broker = addresses.masked(url)
        try:
            parameters = self._parameters(url, self._name, blocked_timeout=self._blocked_timeout)
        except (OSError, ValueError) as error:  # such as a certificate that is not there yet
            self._failed(error)
            return
        self._connection = self._connection_class(
            parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._not_opened,
            on_close_callback=self._closed,
            custom_ioloop=self._ioloop,
        )

    def _opened(self, connection: pika.SelectConnection) -> None:
        self._log(logging.INFO, "amqp_connected")
        self.trouble = _NO_ANSWER
        self._refusals, self.refusal = 0, None
        self.blocked = False
        connection.add_on_connection_blocked_callback(self._blocked)
        connection.add_on_connection_unblocked_callback(self._unblocked)
        self._on_connected(connection)

    def _blocked(self, _connection: object, frame: "pika.frame.Method[pika.spec.Connection.Blocked]") -> None:
        self.trouble = f"the broker takes no messages now: {frame.method.reason}"
        self.blocked = True
        self.blockings += 1
        self._log(logging.WARNING, "amqp_blocked", reason=frame.method.reason)

    def _unblocked(self, _connection: object, _frame: object) -> None:
        self.trouble = _NO_ANSWER
        self.blocked = False
        self._log(logging.INFO, "amqp_unblocked")

    def _not_opened(self, _connection: object, error: BaseException | str) -> None:
        self._failed(error)

    def _failed(self, error: BaseException | str) -> None:
        self.trouble = f"{self._broker}: {words(error)}"
        self._refusals = self._refusals + 1 if access_refusal(error) else 0
        # Another node may have another certificate, so each of them is asked.
        self.refusal = self.trouble if self._refusals >= self._nodes else None
        if not self._ended:
            self._log(logging.WARNING, "amqp_connect_failed", reason=words(error))
        self._connect_again()

    def _closed(self, _connection: object, error: BaseException) -> None:
        self.trouble = f"{self._broker}: {words(error)}"
        if self._ended:
            self._log(logging.INFO, "amqp_closed")
        else:
            self._log(logging.WARNING, "amqp_lost", reason=f"{type(error).__name__}: {error}"[:_MAX_REASON])
        self._on_lost()
        self._connect_again()

    def _connect_again(self) -> None:
        self._connection = None
        if self._ended:
            self._ioloop.stop()
            return
        longest = min(_LONGEST_DELAY, _SHORTEST_DELAY * 2 ** min(self._failures, 10))
        self._failures += 1
        delay = longest * random.uniform(0.5, 1.0)  # noqa: S311 - it only spreads out the programs
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
        self._ioloop.call_later(_CLOSING_TIME, self._stop_without_answer)

    def _stop_without_answer(self) -> None:
        """Close the socket all the same: a broker that is out of reach does not answer a close."""
        if self._connection is None or not abort(self._connection):
            self._ioloop.stop()
