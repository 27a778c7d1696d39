"""Starts a RabbitMQ broker and a PostgreSQL server for tests, the demo and benchmarks.

`start_servers` uses the first way that works, or the one that `ALLOCATION_TEST_SERVERS` names:

1. `containers`: Docker, with testcontainers, `RABBITMQ_IMAGE` and `POSTGRES_IMAGE`.
2. `programs`: the installed programs, as private processes on free ports in a temporary folder.
3. `given`, only where the variable says so: the servers at `ALLOCATION_AMQP_URL` and `ALLOCATION_DATABASE_URL`. A
   virtual host and a database are created there, and removed afterwards. The management API is expected at
   `ALLOCATION_MANAGEMENT_URL`, by default at port 15672 of the same host.

The command `python -m allocation_worker.testing.servers` starts both and prints their addresses.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from allocation_worker.testing.servers.controls import Broker, Database
from allocation_worker.testing.servers.local import local_servers
from allocation_worker.testing.servers.programs import missing_programs
from allocation_worker.testing.servers.ways import GIVEN, NoServersError, first_that_works


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """A broker with a new virtual host, and a database server with a new database.

    Attributes:
        amqp_url: The address of the virtual host.
        database_url: The address of the database (`postgresql+psycopg2://`).
        how: The way they were started: `given`, `containers` or `programs`.
        broker: Creates virtual hosts and counts messages; stops and starts the broker if it is a program.
        database: Creates databases; stops and starts the server if it is a program.
    """

    amqp_url: str
    database_url: str
    how: str
    broker: Broker
    database: Database


@contextmanager
def start_servers() -> Iterator[Servers]:
    """Start a broker and a database server in the first way that works. Stop and remove them at the end of the block.

    Raises:
        NoServersError: No way works.
        ProgramError: The installed programs did not start.
    """
    with ExitStack() as stack:
        how, (broker, database) = first_that_works(stack, _WAYS, otherwise=_OTHERWISE)
        yield Servers(
            amqp_url=broker.new_vhost(),
            database_url=database.new_database(),
            how=how,
            broker=broker,
            database=database,
        )


@contextmanager
def _given() -> Iterator[tuple[Broker, Database]]:
    amqp_url, database_url = os.environ.get("ALLOCATION_AMQP_URL"), os.environ.get("ALLOCATION_DATABASE_URL")
    if not amqp_url or not database_url:
        raise NoServersError("ALLOCATION_AMQP_URL and ALLOCATION_DATABASE_URL are not both set")
    management_url = os.environ.get("ALLOCATION_MANAGEMENT_URL") or _management_beside(amqp_url)
    with ExitStack() as stack:
        broker = Broker(amqp_url=amqp_url, management_url=management_url)
        database = Database(admin_url=database_url)
        stack.callback(broker.remove_made)
        stack.callback(database.remove_made)
        yield broker, database


@contextmanager
def _containers() -> Iterator[tuple[Broker, Database]]:
    try:
        from allocation_worker.testing.servers import containers  # noqa: PLC0415 - testcontainers is an optional extra
    except ImportError as error:
        raise NoServersError(f"testcontainers is not installed ({error})") from error
    try:
        containers.prepare()
    except containers.NoEngineError as error:
        raise NoServersError(str(error)) from error
    with containers.container_servers() as servers:
        yield servers


@contextmanager
def _programs() -> Iterator[tuple[Broker, Database]]:
    if missing := missing_programs():
        raise NoServersError(f"these programs are not installed: {', '.join(missing)}")
    with local_servers() as servers:
        yield servers


_WAYS: dict[str, Callable[[], AbstractContextManager[tuple[Broker, Database]]]] = {
    "containers": _containers,
    "programs": _programs,
    GIVEN: _given,
}
_OTHERWISE = (
    "Please install rabbitmq-server and postgresql, or start a Docker engine, or set ALLOCATION_TEST_SERVERS=given "
    "with ALLOCATION_AMQP_URL and ALLOCATION_DATABASE_URL"
)


def _management_beside(amqp_url: str) -> str:
    first = urlsplit(amqp_url.split(",", maxsplit=1)[0].strip())
    login = first.netloc.rpartition("@")[0] or "guest:guest"
    return f"http://{login}@{first.hostname}:15672"
