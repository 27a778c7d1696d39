"""A TCP proxy on the loopback interface, which injects network faults on request.

The kernel acknowledges all bytes that the proxy has received, so TCP timeouts on either side do not notice `hold`. This
is the harder case, like a frozen server, a connection pooler or a middlebox.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from allocation_worker.testing.waiting import wait_until

_CHUNK = 65536
_ANSWERS_WITHIN = 10.0
# With this option, closing makes the kernel send a reset, as a crashed host or a firewall would.
_RESET = struct.pack("ii", 1, 0)

T = TypeVar("T")


class ConnectionFault(Enum):
    """The fate of a connection on which a client has sent the bytes of a trap."""

    CUT_BEFORE = "cut, and the server never gets them"
    CUT_AFTER = "the server gets them, and both sides are cut at once"
    CUT_ANSWER = "the server gets them and answers; then both sides are cut, and the answer is lost"
    SILENCE = "the server gets them, and nothing of what it says arrives any more"


class Trap:
    """Bytes from a client that trigger a fault.

    Args:
        pattern: The bytes.
        fault: The fault of the connection.
        times: The number of faults. After that, the bytes pass.
    """

    def __init__(self, pattern: bytes, fault: ConnectionFault, times: int) -> None:
        self.pattern = pattern
        self.fault = fault
        self.times = times
        self.sprung = 0

    def wait(self, within: float = 30.0) -> None:
        """Wait until the trap has been triggered `times` times.

        Raises:
            TimeoutError: It was triggered fewer times.
        """
        wait_until(
            lambda: self.sprung >= self.times,
            within=within,
            otherwise=lambda: f"{self.pattern!r} came {self.sprung} times instead of {self.times}.",
        )


class Proxy:
    """Forwards bytes between clients and a server, and injects faults. Use it in a `with` block.

    All methods may be called from any thread, and have taken effect when they return.

    Args:
        target: The server's address, a URL with host and port.

    Attributes:
        url: The server's address through this proxy.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        if parts.hostname is None or parts.port is None:
            raise ValueError("The address of what is behind the proxy needs a host and a port.")
        self._target = (parts.hostname, parts.port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay = 0.0
        self._traps: list[Trap] = []
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            self._port: int = reserved.getsockname()[1]
        login, at, _ = parts.netloc.rpartition("@")
        self.url = parts._replace(netloc=f"{login}{at}127.0.0.1:{self._port}").geturl()

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWERS_WITHIN)
        self._loop.close()

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._links)

    def accept(self) -> None:
        """Accept new connections again."""
        self._do(self._listen())

    def refuse(self) -> None:
        """Refuse new connections. Open connections stay open."""
        self._do(self._stop_listening())

    def cut(self) -> None:
        """Reset every open connection on both sides."""
        self._do(self._cut())

    def vanish(self) -> None:
        """Refuse new connections and reset the open ones, until `accept`."""
        self.refuse()
        self.cut()

    def hold(self) -> None:
        """Forward nothing in either direction, not even the close of a connection, until `release`."""
        self._do(self._set_flowing(flowing=False))

    def release(self) -> None:
        """Forward the held bytes and all that follow."""
        self._do(self._set_flowing(flowing=True))

    def slow_down(self, delay: float) -> None:
        """Forward each piece after `delay` seconds."""
        self._delay = delay

    def trap(self, pattern: bytes, fault: ConnectionFault, times: int = 1) -> Trap:
        """Inject a fault when a client sends these bytes. Traps are tried in the order in which they were set."""
        trap = Trap(pattern, fault, times)
        self._traps.append(trap)
        return trap

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWERS_WITHIN)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, limit=_CHUNK)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> None:
        for link in list(self._links):
            link.cut()

    async def _set_flowing(self, *, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _end(self) -> None:
        await self._stop_listening()
        await self._cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target, limit=_CHUNK)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server_writer)
        if self._server is None:  # refused meanwhile
            link.cut()
            return
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump_requests(link, reader))
                pumps.create_task(self._pump_answers(link, server_reader))
        except* ConnectionError:
            pass  # one side was reset: now the other is
        finally:
            link.cut()
            self._links.discard(link)

    async def _pump_requests(self, link: "_Link", reader: asyncio.StreamReader) -> None:
        seen = b""
        while chunk := await self._next(reader):
            seen += chunk
            trap = self._trap_for(seen)
            if trap is not None:
                link.fault = trap.fault
                seen = b""
            # The pattern may arrive in two pieces.
            seen = seen[-max((len(each.pattern) for each in self._traps), default=1) + 1 :]
            if link.fault is not ConnectionFault.CUT_BEFORE:
                link.server.write(chunk)
                await link.server.drain()
            if trap is not None:
                trap.sprung += 1
            if link.fault in {ConnectionFault.CUT_BEFORE, ConnectionFault.CUT_AFTER}:
                link.cut()
        link.server.write_eof()

    async def _pump_answers(self, link: "_Link", reader: asyncio.StreamReader) -> None:
        while chunk := await self._next(reader):
            if link.fault is ConnectionFault.CUT_ANSWER:
                link.cut()
            elif link.fault is None:
                link.client.write(chunk)
                await link.client.drain()
        if link.fault is not ConnectionFault.SILENCE:
            link.client.write_eof()

    async def _next(self, reader: asyncio.StreamReader) -> bytes:
        chunk = await reader.read(_CHUNK)
        if self._delay:
            await asyncio.sleep(self._delay)
        await self._flowing.wait()
        return chunk

    def _trap_for(self, seen: bytes) -> Trap | None:
        return next((trap for trap in self._traps if trap.sprung < trap.times and trap.pattern in seen), None)


class _Link:
    """The two sides of one connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.fault: ConnectionFault | None = None
        for side in (client, server):
            side.transport.set_write_buffer_limits(high=0)  # drained means handed to the kernel

    def cut(self) -> None:
        """Reset the client's side, and close the server's side, so that the server still reads all bytes."""
        peer = self.client.get_extra_info("socket")
        if not self.client.is_closing():
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for side in (self.client, self.server):
            side.transport.abort()
