"""Wires the signs of life of a long-running process: who gives them, and where they go."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from time import time
from typing import Any

import structlog

from allocation_contracts.amqp.link import NetworkLink
from allocation_worker.adapters import health_file
from allocation_worker.adapters.rabbitmq.link import worker_link
from allocation_worker.config import Settings
from allocation_worker.entrypoints.signs_of_life import Loop, SignsOfLife, write_until
from allocation_worker.service_layer.health import stalled

LEAST_LIMIT = 60
"""Seconds. A loop may be in several calls of the database, each of which takes a statement_timeout and a half."""

log = structlog.get_logger()


class Network:
    """Makes links whose loops give signs of life: a callback asks each of them every second."""

    def __init__(self, signs: SignsOfLife) -> None:
        self._signs = signs
        self._links: list[tuple[NetworkLink, Loop]] = []
        self._unanswered: set[str] = set()

    def link(
        self,
        urls: Sequence[str],
        *,
        name: str,
        on_connected: Callable[[Any], None],
        on_lost: Callable[[], None],
        blocked_timeout: float | None = None,
    ) -> NetworkLink:
        """Return a link; it is a `LinkFactory`."""
        loop = self._signs.loop(f"network of {name}", needs_connection=True)

        def connected(connection: object) -> None:
            loop.connected_since = time()
            on_connected(connection)

        def lost() -> None:
            loop.connected_since = None
            on_lost()

        made = worker_link(urls, name=name, on_connected=connected, on_lost=lost, blocked_timeout=blocked_timeout)
        self._links.append((made, loop))
        return made

    def ping(self) -> None:
        """Ask each loop for a sign, unless it has not answered the last time."""
        for link, loop in self._links:
            if loop.name not in self._unanswered:
                self._unanswered.add(loop.name)
                link.call_soon(partial(self._answered, loop))

    def _answered(self, loop: Loop) -> None:
        loop.move()
        self._unanswered.discard(loop.name)


@contextmanager
def signs_of_life(settings: Settings, verb: str) -> Iterator[tuple[SignsOfLife, Network]]:
    """Leave signs of life in a file, and tell systemd, until the block ends."""
    limit = LEAST_LIMIT + 3 * settings.statement_timeout
    signs = SignsOfLife(verb, limit=limit, pid=os.getpid())
    network = Network(signs)
    path = health_file.path_of(health_file.folder(settings.health_folder), verb)
    stopping = Event()
    writer = _Writer(path, os.environ.get("NOTIFY_SOCKET"))
    thread = Thread(
        target=write_until, args=(stopping, signs, writer.write, network.ping), name="signs of life", daemon=True
    )
    thread.start()
    try:
        yield signs, network
    finally:
        stopping.set()
        thread.join()
        health_file.remove(path)
        writer.tell("STOPPING=1")


class _Writer:
    """Writes signs of life to a file and to systemd. What cannot be written is logged once, and stops nothing."""

    def __init__(self, path: str, notify_socket: str | None) -> None:
        self._path = path
        self._notify_socket = notify_socket
        self._told = False
        self._failed = False

    def write(self, sign: dict[str, Any]) -> None:
        try:
            health_file.write(self._path, sign)
        except OSError as error:
            self._complain(self._path, error)
        if not stalled(sign, sign["written"]):
            # Ready for signals and restarts, though a server may be away: that must not fail the unit.
            self.tell("WATCHDOG=1" if self._told else "READY=1\nWATCHDOG=1")
            self._told = True

    def tell(self, state: str) -> None:
        """Tell systemd, as sd_notify(3) says, if it has asked for that."""
        if not self._notify_socket:
            return
        address = "\0" + self._notify_socket[1:] if self._notify_socket.startswith("@") else self._notify_socket
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.sendto(state.encode(), address)
        except OSError as error:
            self._complain(self._notify_socket, error)

    def _complain(self, place: str, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            log.warning("sign_of_life_unwritable", place=place, error=error.strerror or str(error))
