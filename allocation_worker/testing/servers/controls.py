"""Controls a broker and a database server in tests: create virtual hosts and databases, stop and start the servers."""

import socket
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any, Literal, NoReturn
from urllib.parse import quote, unquote, urlsplit

import pika
import psycopg2
from psycopg2 import sql
from sqlalchemy import make_url

from allocation_worker.adapters.rabbitmq.management import ManagementError, request
from allocation_worker.testing.waiting import wait_until

_TIMEOUT = 10.0


class NotOursError(RuntimeError):
    """The server is not a private program, so it cannot be stopped, started or controlled."""


class Broker:
    """A broker with its management API.

    Attributes:
        amqp_url: The broker's address, with any virtual host; for a cluster, several separated by commas.
        management_url: The address of the management API, with user and password.
    """

    def __init__(self, *, amqp_url: str, management_url: str) -> None:
        self.amqp_url = amqp_url
        self.management_url = management_url
        self._made: list[str] = []

    def new_vhost(self) -> str:
        """Create an empty virtual host and return its address. `remove_made` removes it.

        Raises:
            ManagementError: The management API cannot be reached, or refused.
        """
        name = f"allocation-{uuid.uuid4().hex[:12]}"
        user = unquote(urlsplit(self.management_url).username or "guest")
        self._api("PUT", f"vhosts/{name}", {})
        self._made.append(name)
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        self._api("PUT", f"permissions/{name}/{quote(user, safe='')}", rights)
        return ",".join(_with_path(url, name) for url in self.amqp_url.split(","))

    def queue_depths(self, amqp_url: str) -> dict[str, int]:
        """Return the number of ready messages in each queue of a virtual host.

        The numbers come from the queues themselves, since those of the management API are seconds old. Unacknowledged
        messages are not counted. Just after the broker's start, a queue without a leader counts as empty.
        """
        first = amqp_url.split(",", maxsplit=1)[0]
        with closing(pika.BlockingConnection(pika.URLParameters(first))) as connection:
            channel = connection.channel()
            return {
                name: channel.queue_declare(name, passive=True).method.message_count
                for name in self.queue_names(amqp_url)
            }

    def queue_names(self, amqp_url: str) -> list[str]:
        """Return the names of a virtual host's queues, sorted."""
        return sorted(
            queue["name"] for queue in self._api("GET", f"queues/{_vhost(amqp_url)}?disable_stats=true&columns=name")
        )

    def close_connections(self, amqp_url: str) -> None:
        """Make the broker close all connections to a virtual host.

        Args:
            amqp_url: The address of the virtual host. At least one program must be connected.

        Raises:
            TimeoutError: The broker knows of no connection.
        """
        path = f"vhosts/{_vhost(amqp_url)}/connections"
        known: list[Any] = []

        def some_are_known() -> bool:
            known[:] = self._api("GET", path)
            return any("connection_name" in each.get("client_properties", {}) for each in known)

        # The management API shows a connection some seconds after it has opened.
        wait_until(some_are_known, within=60, otherwise=lambda: f"Nothing is connected to {path}.")
        for each in known:
            with suppress(ManagementError):  # it is gone already
                self._api("DELETE", f"connections/{quote(each['name'])}")

    def check(self) -> None:
        """Raise an error if the broker does not answer over AMQP and over its management API."""
        parameters = pika.URLParameters(self.amqp_url.split(",", maxsplit=1)[0])
        # Try the port first: pika logs seven errors for each refused connection.
        socket.create_connection((parameters.host, parameters.port), _TIMEOUT).close()
        with closing(pika.BlockingConnection(parameters)):
            self._api("GET", "whoami")

    def remove_made(self) -> None:
        """Remove the virtual hosts that `new_vhost` created."""
        while self._made:
            self._api("DELETE", f"vhosts/{self._made.pop()}")

    def stop(self) -> None:
        """End the broker in an orderly way and wait until it is gone."""
        self._refuse()

    def start(self) -> None:
        """Start the broker again, on the same port and with the same data, and wait until it is ready."""
        self._refuse()

    def kill(self) -> None:
        """End the broker as a power cut would (SIGKILL to its process group).

        RabbitMQ 3.10 loses the location of a quorum queue's data if it is killed within a second of the declaration.
        The queue exists afterwards, but does not work. For such new queues, call `save_queue_names` first.
        """
        self._refuse()

    def save_queue_names(self) -> None:
        """Make the broker write the names of its quorum queues to disk now."""
        self._refuse()

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl against this broker and return its output."""
        self._refuse(*args)

    def _refuse(self, *args: str) -> NoReturn:
        raise NotOursError(" ".join(["This broker is not a private program: it takes no orders.", *args]))

    def _api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        return request(self.management_url, method, path, body)


class Database:
    """A PostgreSQL server in which databases can be created.

    Attributes:
        admin_url: The address of a database, with a role that may create databases (`postgresql+psycopg2://`).
    """

    def __init__(self, *, admin_url: str) -> None:
        self.admin_url = admin_url
        self._made: list[str] = []

    def new_database(self) -> str:
        """Create an empty database from template0 and return its address. `remove_made` removes it."""
        name = f"allocation_{uuid.uuid4().hex[:12]}"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        url = make_url(self.admin_url).set(drivername="postgresql+psycopg2", database=name)
        self._made.append(address := url.render_as_string(hide_password=False))
        return address

    def drop(self, url: str) -> None:
        """Remove a database, along with the connections to it."""
        name = make_url(url).database or ""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        if url in self._made:
            self._made.remove(url)

    def remove_made(self) -> None:
        """Remove the databases that `new_database` created."""
        for url in list(self._made):
            self.drop(url)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End the server: `fast` in an orderly way, `immediate` as a crash would."""
        raise NotOursError(f"This database server is not a private program: it cannot be stopped ({mode}).")

    def start(self) -> None:
        """Start the server again, on the same port and with the same data, and wait until it is ready."""
        raise NotOursError("This database server is not a private program: it cannot be started.")

    def _execute(self, statement: sql.Composed) -> None:
        dsn = make_url(self.admin_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg2.connect(dsn, connect_timeout=int(_TIMEOUT))) as connection:
            connection.autocommit = True  # a database cannot be created or dropped inside a transaction
            with connection.cursor() as cursor:
                cursor.execute(statement)


def _vhost(amqp_url: str) -> str:
    """Return a virtual host's name, encoded for the paths of the management API."""
    return quote(unquote(urlsplit(amqp_url.split(",", maxsplit=1)[0]).path[1:]), safe="")


def _with_path(url: str, vhost: str) -> str:
    return urlsplit(url.strip())._replace(path=f"/{vhost}").geturl()
