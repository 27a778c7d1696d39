"""The faults. Each is a context: it strikes on the way in, and heals on the way out."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import TypeVar

import psycopg2
import psycopg2.extensions
from sqlalchemy import make_url

from allocation_worker.testing.local import LocalBroker
from allocation_worker.testing.programs import ProgramError
from chaos.place import CONSUMERS, RELAYS, Place
from chaos.schedule import Kind
from chaos.traffic import Traffic

Fault = Callable[[Place, Traffic, random.Random], AbstractContextManager[None]]
F = TypeVar("F", bound=Fault)

KINDS: dict[str, list[Kind]] = {}
"""By target, for the schedule."""

FAULTS: dict[str, Fault] = {}
"""By the name of the kind."""


def fault(target: str, name: str, shortest: float = 0, longest: float = 0) -> Callable[[F], F]:
    """Enter a fault into the tables."""

    def enter(function: F) -> F:
        KINDS.setdefault(target, []).append(Kind(name, shortest, longest))
        FAULTS[name] = function
        return function

    return enter


# --- the service's own processes


def _signals(names: Sequence[str], *strike: signal.Signals, heal: signal.Signals | None = None) -> Fault:
    @contextmanager
    def act(place: Place, _traffic: Traffic, luck: random.Random) -> Iterator[None]:
        process = place.processes.get(luck.choice(names))
        for number in strike:
            process.send(number)
        try:
            yield
        finally:
            if heal:
                process.send(heal)

    return act


fault("consume", "consume: SIGKILL")(_signals(CONSUMERS, signal.SIGKILL))
fault("consume", "consume: SIGSTOP", 2, 20)(_signals(CONSUMERS, signal.SIGSTOP, heal=signal.SIGCONT))
fault("consume", "consume: SIGTERM")(_signals(CONSUMERS, signal.SIGTERM))
fault("relay", "relay: SIGKILL")(_signals(RELAYS, signal.SIGKILL))
fault("relay", "relay: SIGSTOP", 2, 20)(_signals(RELAYS, signal.SIGSTOP, heal=signal.SIGCONT))
fault("relay", "relay: SIGTERM")(_signals(RELAYS, signal.SIGTERM))


@fault("consume", "consume: all killed")
@contextmanager
def _all_consumers_killed(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    for name in CONSUMERS:
        place.processes.get(name).send(signal.SIGKILL)
    yield


# --- the broker


def _node(strike: Callable[[Place, LocalBroker], None], heal: Callable[[Place, LocalBroker], None]) -> Fault:
    @contextmanager
    def act(place: Place, _traffic: Traffic, luck: random.Random) -> Iterator[None]:
        node = luck.choice(place.cluster.nodes)
        try:
            strike(place, node)
            yield
        finally:
            heal(place, node)

    return act


def _start(_place: Place, node: LocalBroker) -> None:
    node.start()


fault("broker", "broker node: SIGKILL", 2, 20)(_node(lambda _, node: node.kill(), _start))
fault("broker", "broker node: SIGSTOP", 3, 25)(_node(lambda _, node: node.freeze(), lambda _, node: node.thaw()))
fault("broker", "broker node: orderly stop", 2, 20)(_node(lambda _, node: node.stop(), _start))
fault("broker", "broker node: cut off from the others", 5, 30)(
    _node(lambda place, node: place.cluster.cut_off(node), lambda place, _: place.cluster.join_again())
)


@fault("broker", "broker: connections reset")
@contextmanager
def _connections_reset(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    place.cluster.ctl("close_all_connections", "--global", "chaos")
    yield


@fault("broker", "broker: memory alarm", 3, 15)
@contextmanager
def _memory_alarm(place: Place, _traffic: Traffic, luck: random.Random) -> Iterator[None]:
    node = luck.choice(place.cluster.nodes)
    try:
        node.ctl("set_vm_memory_high_watermark", "0.0000001")
        yield
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.4")


@fault("broker", "broker: disk alarm", 3, 15)
@contextmanager
def _disk_alarm(place: Place, _traffic: Traffic, luck: random.Random) -> Iterator[None]:
    node = luck.choice(place.cluster.nodes)
    try:
        node.ctl("set_disk_free_limit", "1000GB")
        yield
    finally:
        node.ctl("set_disk_free_limit", "50MB")


@fault("broker", "broker: every node in turn", 0, 0)
@contextmanager
def _rolling_restart(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    for node in place.cluster.nodes:
        node.stop()
        node.start()
        _wait_for_members(place)
    yield


def _wait_for_members(place: Place) -> None:
    """As an operator would before taking the next node: `rabbitmq-queues check_if_node_is_quorum_critical`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(ProgramError):
            if place.cluster.ctl("eval", "length(rabbit_nodes:all_running()).").strip() == str(
                len(place.cluster.nodes)
            ):
                return
        time.sleep(0.5)


# --- the database


@fault("database", "database: restart", 0, 5)
@contextmanager
def _database_restarted(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    place.database.stop("fast")
    try:
        yield
    finally:
        place.database.start()


@fault("database", "database: crash", 0, 20)
@contextmanager
def _database_crashed(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    place.database.stop("immediate")
    try:
        yield
    finally:
        place.database.start()


@fault("database", "database: connections reset")
@contextmanager
def _backends_terminated(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    with _connected(place) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
            "current_database()"
        )
    yield


@fault("database", "database: products locked", 2, 12)
@contextmanager
def _products_locked(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    with _connected(place) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        cursor.execute("SET lock_timeout = '20s'; SELECT 1 FROM products ORDER BY sku LIMIT 100 FOR UPDATE")
        yield
        connection.rollback()


@fault("database", "database: out of connections", 3, 10)
@contextmanager
def _out_of_connections(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    held: list[psycopg2.extensions.connection] = []
    try:
        # Those who are connected stay so: cutting them off as well makes them need new ones.
        with _connected(place) as connection, connection.cursor() as cursor, suppress(psycopg2.OperationalError):
            while len(held) < 300:
                held.append(psycopg2.connect(_dsn(place)))
            cursor.execute("SELECT 1")
        with suppress(psycopg2.OperationalError, IndexError), held[0].cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ^@ 'allocation-worker'"
            )
        yield
    finally:
        for connection in held:
            with suppress(psycopg2.Error):
                connection.close()


@fault("database", "database: full disk", 2, 10)
@contextmanager
def _full_disk(place: Place, _traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    filler = place.disk / "filler"
    try:
        _fill(filler, place)
        yield
    finally:
        filler.unlink(missing_ok=True)
        place.database.stop("immediate")  # it may have ended by itself, or be about to
        place.database.start()


def _fill(filler: "os.PathLike[str]", place: Place) -> None:
    with open(filler, "wb", buffering=0) as file, suppress(OSError):  # noqa: PTH123 - unbuffered, to the last byte
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while os.statvfs(place.disk).f_bavail:
                    file.write(bytes(size))


def _dsn(place: Place) -> str:
    return make_url(place.database_url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def _connected(place: Place) -> "Iterator[psycopg2.extensions.connection]":
    with closing(psycopg2.connect(_dsn(place), connect_timeout=10)) as connection:
        connection.autocommit = True
        yield connection


# --- messages


@fault("messages", "messages published twice", 2, 8)
@contextmanager
def _published_twice(_place: Place, traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    traffic.twice = True
    try:
        yield
    finally:
        traffic.twice = False


@fault("messages", "old messages published again")
@contextmanager
def _published_again(_place: Place, traffic: Traffic, luck: random.Random) -> Iterator[None]:
    traffic.publish_again(luck, 200)
    yield


@fault("messages", "messages that nobody can read")
@contextmanager
def _poison(_place: Place, traffic: Traffic, _luck: random.Random) -> Iterator[None]:
    traffic.poison()
    yield
