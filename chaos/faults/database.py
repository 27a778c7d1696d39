"""The faults of the database that need no failover. Most are those of the primary."""

import os
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg2
import psycopg2.extensions
from sqlalchemy import make_url

from chaos.faults.table import fault
from chaos.sandbox import Sandbox
from chaos.traffic import CommandStream


@fault("database", "database: restart", 0, 5)
@contextmanager
def _database_restarted(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    sandbox.database.primary.stop("fast")
    try:
        yield
    finally:
        sandbox.database.start()


@fault("database", "database: crash", 0, 20)
@contextmanager
def _database_crashed(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    sandbox.database.primary.stop("immediate")
    try:
        yield
    finally:
        sandbox.database.start()


@fault("database", "database: connections reset")
@contextmanager
def _backends_terminated(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    with _connected(sandbox) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
            "current_database()"
        )
    yield


@fault("database", "database: products locked", 2, 12)
@contextmanager
def _products_locked(sandbox: Sandbox, _stream: CommandStream, rng: random.Random) -> Iterator[None]:
    count = rng.choice((1, 5, 100))  # the orders of all others go on meanwhile
    with _connected(sandbox) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        cursor.execute("SET lock_timeout = '20s'; SELECT 1 FROM products ORDER BY sku LIMIT %s FOR UPDATE", [count])
        yield
        connection.rollback()


@fault("database", "database: out of connections", 3, 10)
@contextmanager
def _out_of_connections(sandbox: Sandbox, _stream: CommandStream, _rng: random.Random) -> Iterator[None]:
    held: list[psycopg2.extensions.connection] = []
    try:
        # Open connections stay open, so reset them as well: the programs then need new ones.
        with _connected(sandbox) as connection, connection.cursor() as cursor, suppress(psycopg2.OperationalError):
            while len(held) < 300:
                held.append(psycopg2.connect(_dsn(sandbox)))
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
def _full_disk(sandbox: Sandbox, _stream: CommandStream, rng: random.Random) -> Iterator[None]:
    """The disk of either server is full."""
    server = rng.choice((sandbox.database.primary, sandbox.database.standby))
    filler = server.folder.parent / "filler"
    try:
        _fill(filler)
        yield
    finally:
        filler.unlink(missing_ok=True)
        server.stop("immediate")  # it may have ended by itself, or be about to
        sandbox.database.start()


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):  # unbuffered, to the last byte
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while os.statvfs(filler.parent).f_bavail:
                    file.write(bytes(size))


def _dsn(sandbox: Sandbox) -> str:
    return make_url(sandbox.database_url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def _connected(sandbox: Sandbox) -> "Iterator[psycopg2.extensions.connection]":
    with closing(psycopg2.connect(_dsn(sandbox), connect_timeout=10)) as connection:
        connection.autocommit = True
        yield connection
