"""The link of a simulated process to its broker."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulation.amqp import SimulatedConnection

if TYPE_CHECKING:
    from tests.simulation.processes import Process

Callback = Callable[..., Any]


class SimulatedLink:
    """Stands in for `Link`: one connection at a time to the broker in memory.

    Args:
        process: Its threads run the link.
    """

    trouble = ""
    refusal: str | None = None
    blocked = False
    blockings = 0

    def __init__(
        self,
        process: "Process",
        urls: Sequence[str],
        *,
        name: str,
        on_connected: Callback,
        on_lost: Callback,
        blocked_timeout: float | None = None,
    ) -> None:
        del urls, blocked_timeout  # no alarm is simulated
        self.process = process
        self.process.links.append(self)
        self.name = name
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._callbacks: deque[Callable[[], None]] = deque()
        self._connection: SimulatedConnection | None = None
        self._ended = False

    def start(self) -> None:
        self.process.spawn(self.name, self.run)

    def join(self, timeout: float) -> None:
        pass

    def run(self) -> None:
        self._connect()
        while not self._ended:
            self.process.world.scheduler.wait(lambda: bool(self._callbacks))
            self._callbacks.popleft()()

    def call_soon(self, function: Callable[[], None]) -> None:
        self._callbacks.append(function)

    def call_later(self, delay: float, function: Callable[[], None]) -> None:
        self.process.world.scheduler.later(delay, partial(self._callbacks.append, function))

    def mark_healthy(self) -> None:
        pass

    def reconnect(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def stop(self) -> None:
        self._ended = True

    def lost(self) -> None:
        self._connection = None
        self._on_lost()
        self.call_later(self.process.world.reconnect_after(), self._connect)

    def end(self) -> None:
        """The process is dead: the broker sees its connection close."""
        if self._connection is not None:
            self.process.world.scheduler.remove(self._connection)
            self._connection.is_open = False
            self._connection.forget()

    def _connect(self) -> None:
        if self._connection is None:
            self._connection = SimulatedConnection(self)
            self._on_connected(self._connection)
