"""A link without a network. The test runs the callbacks of the network thread."""

from collections import deque
from collections.abc import Callable
from typing import Any

from pika.exceptions import ChannelClosedByBroker, ChannelClosedByClient, StreamLostError
from pika.frame import Method
from pika.spec import Basic, BasicProperties


class Network:
    """The link, its connection and its channel in one.

    Attributes:
        published: The message_ids of what was published, in order.
        reconnects: How often a new connection was asked for.
        healthy: How often the connection was said to be of use.
        later: What is to be called later.
        delays: After how many seconds, for each that ever was.
    """

    trouble = "no broker"
    refusal: str | None = None
    blocked = False
    blockings = 0

    def __init__(
        self,
        urls: object = (),
        *,
        name: str = "",
        on_connected: Callable[[Any], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
        blocked_timeout: float | None = None,
    ) -> None:
        del urls, name, blocked_timeout
        self.is_open = False
        self.published: list[str] = []
        self.reconnects = 0
        self.healthy = 0
        self.later: list[Callable[[], None]] = []
        self.delays: list[float] = []
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._calls: deque[Callable[[], None]] = deque()
        self._closed: list[Callable[[Any, Exception], None]] = []
        self._confirmed: Callable[[Any], None] | None = None
        self._returned: Callable[..., None] | None = None

    # What the test does.

    def connect(self) -> None:
        self.is_open = True
        self._on_connected(self)

    def lose(self) -> None:
        self._end(StreamLostError("gone"))
        self._on_lost()

    def close_channel(self, code: int, text: str) -> None:
        """As the broker does."""
        self._end(ChannelClosedByBroker(code, text))

    def close_ok(self) -> None:
        """Answer a `close` of the client's."""
        assert not self.is_open
        self._end(ChannelClosedByClient(200, "Normal shutdown"))

    def run_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def confirm(self, tag: int, *, multiple: bool = False, nack: bool = False) -> None:
        """Confirm the message with this tag; 0 and `multiple`: all."""
        assert self._confirmed is not None
        self._confirmed(Method(1, Basic.Nack(tag, multiple) if nack else Basic.Ack(tag, multiple)))

    def confirm_all(self) -> None:
        self.run_calls()
        self.confirm(0, multiple=True)

    def give_back(self, key: str, body: bytes, *, exchange: str = "", **properties: Any) -> None:
        """Return a message."""
        assert self._returned is not None
        method = Basic.Return(312, "NO_ROUTE", exchange, key)
        self._returned(self, method, BasicProperties(**properties), body)

    def _end(self, reason: Exception) -> None:
        self.is_open = False
        closed, self._closed = self._closed, []
        for callback in closed:
            callback(self, reason)

    # What the product does with a link.

    def start(self) -> None: ...
    def run(self) -> None: ...
    def join(self, timeout: float) -> None: ...
    def stop(self) -> None: ...
    def mark_healthy(self) -> None:
        self.healthy += 1

    def reconnect(self) -> None:
        self.reconnects += 1

    def call_soon(self, function: Callable[[], None]) -> None:
        self._calls.append(function)

    def call_later(self, delay: float, function: Callable[[], None]) -> None:
        self.delays.append(delay)
        self.later.append(function)

    # What it does with a connection and a channel.

    def channel(self, *, on_open_callback: Callable[[Any], None]) -> None:
        on_open_callback(self)

    def add_on_close_callback(self, callback: Callable[[Any, Exception], None]) -> None:
        self._closed.append(callback)

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        self._returned = callback

    def confirm_delivery(self, callback: Callable[[Any], None]) -> None:
        self._confirmed = callback

    def basic_publish(self, _exchange: str, _key: str, _body: bytes, properties: Any, *, mandatory: bool) -> None:
        assert mandatory
        self.published.append(properties.message_id)

    def close(self) -> None:
        assert self.is_open
        self.is_open = False
