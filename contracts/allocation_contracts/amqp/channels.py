"""One channel to whichever broker of several answers, opened again for as long as it takes."""

import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from urllib.parse import urlsplit

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker

from allocation_contracts.amqp.errors import words

log = logging.getLogger(__name__)

_SOCKET_TIMEOUT = 5.0
_STACK_TIMEOUT = 10.0
_SHORTEST_DELAY = 0.2
_LONGEST_DELAY = 5.0
_CLOSING_TIME = 5.0


class ChannelLoop:
    """A network thread with one connection and one channel on it, so that heartbeats go on whatever the program does.

    The callbacks run in that thread. `call_soon` and `stop` may be called from any.

    Args:
        url: `amqp://` or `amqps://`; several, as a list or separated by commas, for the nodes of a cluster.
        name: What the broker shows the connection as.
        on_opened: Called with each channel that has opened.
        on_lost: Called when that channel is gone, with the broker's reason if it was the broker that closed it.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        name: str,
        on_opened: Callable[[Channel], None],
        on_lost: Callable[[ChannelClosedByBroker | None], None],
    ) -> None:
        urls = url.split(",") if isinstance(url, str) else url
        self._brokers = [(_masked(each.strip()), _parameters(each.strip(), name)) for each in urls]
        self._on_opened = on_opened
        self._on_lost = on_lost
        self._ioloop = IOLoop()
        self._connection: pika.SelectConnection | None = None
        self._attempts = 0
        self._failures = 0
        self._ended = False
        self.trouble = "no broker has answered yet"
        """Why there is no channel, or nothing moves on it; for people."""
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread, which connects."""
        self._thread.start()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Have it called in the network thread. Thread-safe."""
        self._ioloop.add_callback_threadsafe(function)

    def call_later(self, delay: float, function: Callable[[], None]) -> None:
        """Have it called after `delay` seconds. Network thread only."""
        self._ioloop.call_later(delay, function)

    def reconnect(self) -> None:
        """Close the connection and open another. Network thread only."""
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def stop(self) -> None:
        """Close the connection and end the thread. Thread-safe."""
        self.call_soon(self._stop)
        self._thread.join(2 * _CLOSING_TIME)

    def _run(self) -> None:
        self._connect()
        while not self._ended:
            try:
                self._ioloop.start()
            except Exception:  # whatever a frame or a callback of ours brought up: begin again with a new connection
                # pika stumbles over a close amid the handshake; then nothing is left to do.
                level = logging.DEBUG if self._ended else logging.ERROR
                log.log(level, "The connection failed; connecting again.", exc_info=True)
                if self._connection is None or self._connection.is_closed:
                    self._connect_later()
                self.reconnect()
        self._ioloop.close()

    def _connect(self) -> None:
        if self._ended or self._connection is not None:
            return
        broker, parameters = self._brokers[self._attempts % len(self._brokers)]
        self._attempts += 1
        self._connection = pika.SelectConnection(
            parameters,
            on_open_callback=self._connected,
            on_open_error_callback=partial(self._disconnected, broker),
            on_close_callback=partial(self._disconnected, broker),
            custom_ioloop=self._ioloop,
        )

    def _connected(self, connection: pika.SelectConnection) -> None:
        connection.add_on_connection_blocked_callback(self._blocked)
        connection.add_on_connection_unblocked_callback(self._unblocked)
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        self._failures = 0
        self.trouble = "the broker has not answered"
        channel.add_on_close_callback(self._closed)
        self._on_opened(channel)

    def _closed(self, _channel: Channel, reason: Exception) -> None:
        self._on_lost(reason if isinstance(reason, ChannelClosedByBroker) else None)
        self.reconnect()

    def _blocked(self, _connection: object, frame: "pika.frame.Method[pika.spec.Connection.Blocked]") -> None:
        self.trouble = f"the broker takes no messages now: {frame.method.reason}"
        log.warning("Publishing waits: %s.", self.trouble)

    def _unblocked(self, *_: object) -> None:
        self.trouble = "the broker has not answered"

    def _disconnected(self, broker: str, _connection: object, error: BaseException | str) -> None:
        self.trouble = f"{broker}: {words(error)}"
        if not self._ended:
            log.warning("No connection to %s; trying again.", self.trouble)
        self._connect_later()

    def _connect_later(self) -> None:
        self._connection = None
        if self._ended:
            self._ioloop.stop()
            return
        longest = min(_LONGEST_DELAY, _SHORTEST_DELAY * 2 ** min(self._failures, 10))
        self._failures += 1
        delay = longest * random.uniform(0.5, 1.0)  # noqa: S311 - it only spreads out the programs
        self._ioloop.call_later(delay, self._connect)

    def _stop(self) -> None:
        self._ended = True
        if self._connection is None:
            self._ioloop.stop()
            return
        if not (self._connection.is_closing or self._connection.is_closed):
            self._connection.close()
        # A broker that is out of reach answers nothing.
        self._ioloop.call_later(_CLOSING_TIME, self._ioloop.stop)


def _parameters(url: str, name: str) -> pika.URLParameters:
    parameters = pika.URLParameters(url)
    query = urlsplit(url).query
    if "socket_timeout=" not in query:
        parameters.socket_timeout = _SOCKET_TIMEOUT
    if "stack_timeout=" not in query:
        parameters.stack_timeout = _STACK_TIMEOUT
    parameters.client_properties = {"connection_name": name}
    return parameters


def _masked(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
