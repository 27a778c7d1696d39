"""Starts a real Redis for tests, in the first way that works, or in the one that `ALLOCATION_TEST_SERVERS` names.

1. `containers`: Docker, with testcontainers and `REDIS_IMAGE`.
2. `programs`: Debian's redis-server, as a private process on a free port.
3. `given`, only where the variable says so: the Redis at `ALLOCATION_REDIS_URL`. Its databases 1 to 15 are emptied and
   used.

The command `python -m allocation_worker.testing.servers.redis_server` starts one and prints its address.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import RedisError

from allocation_worker.testing.servers.controls import NotOursError
from allocation_worker.testing.servers.programs import Program, ProgramError, find_program, free_port, private_folder
from allocation_worker.testing.servers.reaper import MARK
from allocation_worker.testing.servers.ways import GIVEN, NoServersError, first_that_works

REDIS_IMAGE = os.environ.get("REDIS_IMAGE", "redis:7")
_OTHERWISE = "Please install redis-server, or set ALLOCATION_TEST_SERVERS=given with ALLOCATION_REDIS_URL"


class RedisServer:
    """A Redis server whose databases may be emptied and used.

    Args:
        url: The address. Its path is ignored.
        databases: The number of databases.
    """

    def __init__(self, url: str, *, databases: int = 16) -> None:
        self.url = url
        self._databases = databases
        self._numbers = count(1)

    def new_database(self) -> str:
        """Empty the next database and return its address. After the last one, start again with the first."""
        number = (next(self._numbers) - 1) % (self._databases - 1) + 1
        address = urlsplit(self.url)._replace(path=f"/{number}").geturl()
        with Redis.from_url(address) as client:
            client.flushdb()
        return address

    def check(self) -> None:
        """Raise an error if the server does not answer."""
        with Redis.from_url(self.url) as client:
            client.ping()

    def kill(self) -> None:
        """End the server with SIGKILL. Data that are not on disk are lost."""
        raise NotOursError("This Redis is not a private program: it cannot be killed.")

    def start(self) -> None:
        """Start the server again, on the same port and with the same folder, and wait until it is ready."""
        raise NotOursError("This Redis is not a private program: it cannot be started.")


class LocalRedis(RedisServer):
    """Debian's redis-server as a private process on the loopback interface.

    Args:
        folder: The folder of `private_folder`. The server creates its own inside.
        durable: Whether the server writes an append-only file, synced before each answer.
        settings: Further settings of Redis, by name.
    """

    def __init__(
        self, folder: Path, *, durable: bool = False, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.folder = folder / "redis"
        self.folder.mkdir()
        port = free_port()
        databases = 1000
        super().__init__(f"redis://127.0.0.1:{port}/0", databases=databases)
        all_settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(self.folder),
            "databases": str(databases),
            "save": "",
            "appendonly": "yes" if durable else "no",
            "appendfsync": "always",
            **settings,
        }
        options = [part for name, value in all_settings.items() for part in (f"--{name}", value)]
        env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", MARK: str(folder)}
        self._program = Program([str(find_program("redis-server")), *options], env=env, folder=self.folder)

    def kill(self) -> None:
        self._program.end(signal.SIGKILL)

    def start(self) -> None:
        self._program.launch()
        self._program.wait_until(self.check)


@contextmanager
def local_redis(*, durable: bool = False) -> Iterator[LocalRedis]:
    """Start a private Redis. Stop and remove it at the end of the block.

    Raises:
        ProgramError: The program is missing, or did not start.
    """
    if find_program("redis-server") is None:
        raise ProgramError("the program redis-server is missing")
    with private_folder() as folder, ExitStack() as stack:
        server = LocalRedis(folder, durable=durable)
        stack.callback(server.kill)
        server.start()
        yield server


@contextmanager
def start_redis() -> Iterator[RedisServer]:
    """Start a Redis in the first way that works. Stop and remove it at the end of the block.

    Raises:
        NoServersError: No way works.
    """
    with ExitStack() as stack:
        _, server = first_that_works(stack, _ways(), otherwise=_OTHERWISE)
        yield server


def _ways() -> dict[str, Callable[[], AbstractContextManager[RedisServer]]]:
    return {"containers": _containers, "programs": _programs, GIVEN: _given}


@contextmanager
def _given() -> Iterator[RedisServer]:
    url = os.environ.get("ALLOCATION_REDIS_URL")
    if not url:
        raise NoServersError("ALLOCATION_REDIS_URL is not set")
    server = RedisServer(url)
    try:
        server.check()
    except RedisError as error:
        raise NoServersError(f"ALLOCATION_REDIS_URL leads to no Redis ({error})") from error
    yield server


@contextmanager
def _containers() -> Iterator[RedisServer]:
    try:
        from testcontainers.community.redis import RedisContainer  # noqa: PLC0415 - an optional extra

        from allocation_worker.testing.servers import containers  # noqa: PLC0415 - as above
    except ImportError as error:
        raise NoServersError(f"testcontainers is not installed ({error})") from error
    try:
        containers.prepare(REDIS_IMAGE)
    except containers.NoEngineError as error:
        raise NoServersError(str(error)) from error
    with RedisContainer(REDIS_IMAGE) as container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(6379)
        yield RedisServer(f"redis://{host}:{port}/0")


@contextmanager
def _programs() -> Iterator[RedisServer]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(local_redis())
        except ProgramError as error:
            raise NoServersError(str(error)) from error
        yield server


def main() -> None:
    """Start a Redis, print its address, and keep it running until SIGINT or SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with suppress(KeyboardInterrupt), start_redis() as server:
        print(f"export ALLOCATION_REDIS_URL={server.new_database()}", flush=True)  # noqa: T201 - its output is its purpose
        signal.pause()


if __name__ == "__main__":
    main()
